"""`plugway users`, `plugway users keys` and `plugway groups`."""

import json

import anyio
import pytest
from accounts_kit import people_in
from typer.testing import CliRunner

from plugway_accounts._commands import groups_app, users_app


@pytest.fixture
def run(tmp_path):
    """Run a command line; returns the result."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"plugins:\n  - use: store\n    options: {{url: {tmp_path / 'store.db'}}}\n"
        "  - use: accounts\n  - use: echo\n"
    )

    def command(*words, app=users_app, text=None):
        return CliRunner().invoke(app, [*words, "--config", str(config)], input=text)

    return command


def groups(run, *words, **more):
    return run(*words, app=groups_app, **more)


def people(tmp_path, work):
    async def main():
        async with people_in({"url": str(tmp_path / "store.db")}) as found:
            return await work(found)

    return anyio.run(main)


def test_a_key_that_is_issued_is_printed_once_and_works(run, tmp_path):
    assert run("add", "ann").exit_code == 0
    done = run("keys", "issue", "ann", "--label", "laptop", "--days", "30")
    key = done.stdout.strip()
    assert len(key) == 46
    assert key not in done.stderr
    assert people(tmp_path, lambda found: found.by_key(key)).person == "ann"
    for words in (("show", "ann"), ("keys", "list"), ("list",), ("keys", "list", "ann", "--json")):
        shown = run(*words)
        assert shown.exit_code == 0
        assert key[11:] not in shown.output
    assert key[:11] in run("keys", "list").stdout


def test_json_has_everything_and_is_the_only_output_on_stdout(run):
    groups(run, "add", "staff", "--models", "cloud/*")
    added = run("add", "ann", "--group", "staff", "--models", "none", "--json")
    assert json.loads(added.stdout)["groups"] == ["staff"]
    issued = json.loads(run("keys", "issue", "ann", "--json", "--days", "1").stdout)
    assert issued["key"].startswith(issued["id"])
    (listed,) = json.loads(run("keys", "list", "--json").stdout)
    assert (listed["id"], listed["state"]) == (issued["id"], "valid")
    assert "hash" not in listed
    (shown,) = json.loads(run("list", "--json").stdout)
    assert (shown["name"], shown["models"]) == ("ann", [])
    (group,) = json.loads(groups(run, "list", "--json").stdout)
    assert (group["name"], group["members"], group["models"]) == ("staff", ["ann"], ["cloud/*"])
    rotated = json.loads(run("keys", "rotate", issued["id"], "--hours", "0", "--json").stdout)
    states = {
        key["id"]: key["state"] for key in json.loads(run("show", "ann", "--json").stdout)["keys"]
    }
    assert states == {issued["id"]: "expired", rotated["id"]: "valid"}


def test_every_command_that_changes_something_says_in_json_what_it_became(run):
    def changed(*words, app=users_app):
        done = run(*words, "--json", app=app)
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    assert changed("add", "staff", "--models", "a/*", app=groups_app)["models"] == ["a/*"]
    assert changed("set", "staff", "--models", "b/*", app=groups_app)["models"] == ["b/*"]
    assert changed("add", "ann")["disabled"] is None
    assert changed("join", "staff", "ann", app=groups_app)["members"] == ["ann"]
    assert changed("leave", "staff", "ann", app=groups_app)["members"] == []
    assert changed("set", "ann", "--models", "c/*")["models"] == ["c/*"]
    assert changed("disable", "ann")["disabled"].endswith("Z")
    assert changed("enable", "ann")["disabled"] is None
    key = changed("keys", "issue", "ann")["id"]
    assert changed("keys", "revoke", key, "--yes")["state"] == "revoked"
    assert changed("rm", "staff", "--yes", app=groups_app) == {"removed": "staff"}
    assert changed("rm", "ann", "--yes") == {"removed": "ann"}


def test_what_cannot_be_undone_is_confirmed(run, tmp_path):
    run("add", "ann")
    groups(run, "add", "staff")
    key = run("keys", "issue", "ann").stdout.strip()
    commands = [
        (users_app, ("keys", "revoke", key[:11])),
        (users_app, ("rm", "ann")),
        (groups_app, ("rm", "staff")),
    ]
    for app, words in commands:
        for answer in ("", "n\n"):
            assert run(*words, app=app, text=answer).exit_code == 1
        assert people(tmp_path, lambda found: found.by_key(key)).person == "ann"
    assert len(json.loads(groups(run, "list", "--json").stdout)) == 1
    for app, words in commands:
        assert run(*words, "--yes", app=app).exit_code == 0
    assert people(tmp_path, lambda found: found.by_key(key)) is None


def test_a_password_comes_from_standard_input_and_never_from_the_command_line(run, tmp_path):
    assert run("add", "ann", "--password", text="correct horse battery\n").exit_code == 0
    check = ("ann", "correct horse battery")
    assert people(tmp_path, lambda found: found.check_password(*check))
    assert run("add", "bob", "--password=secret-word-123").exit_code == 2
    assert run("set", "ann", "--no-password").exit_code == 0
    assert not people(tmp_path, lambda found: found.check_password(*check))


def test_a_password_that_is_too_short_is_named_and_the_person_is_there(run):
    done = run("add", "ann", "--password", text="short\n")
    assert done.exit_code == 1
    assert "added without a password: a password has 12 to 1024 characters" in done.stderr
    assert run("show", "ann").exit_code == 0


def test_a_person_is_disabled_and_enabled(run, tmp_path):
    run("add", "ann")
    assert "users enable ann" in run("disable", "ann").stderr
    assert people(tmp_path, lambda found: found.member("ann")) is None
    assert run("enable", "ann").exit_code == 0
    assert people(tmp_path, lambda found: found.member("ann")).person == "ann"


def test_models_and_memberships_are_changed(run, tmp_path):
    run("add", "ann")
    groups(run, "add", "staff")
    assert groups(run, "join", "staff", "ann").exit_code == 0
    assert groups(run, "set", "staff", "--models", "cloud/*").exit_code == 0
    assert run("set", "ann", "--models", "none").exit_code == 0
    member = people(tmp_path, lambda found: found.member("ann"))
    assert (member.groups, member.may_use("cloud/x"), member.may_use("x/y")) == (
        ("staff",),
        True,
        False,
    )
    assert groups(run, "leave", "staff", "ann").exit_code == 0
    done = groups(run, "leave", "staff", "ann")
    assert (done.exit_code, done.stderr) == (1, "plugway: 'ann' is not a member of 'staff'\n")


@pytest.mark.parametrize(
    ("app", "words", "said"),
    [
        (users_app, ("show", "nobody"), "there is no person 'nobody': `plugway users list`"),
        (users_app, ("add", "Ann"), "'Ann' is not a valid name of a person"),
        (users_app, ("add", "owner"), "`owner` is reserved"),
        (users_app, ("add", "ann", "--group", "no"), "there is no group 'no'"),
        (users_app, ("keys", "issue", "nobody"), "there is no person 'nobody'"),
        (users_app, ("keys", "list", "nobody"), "there is no person 'nobody'"),
        (users_app, ("keys", "revoke", "pw_aaaaaaaa", "--yes"), "there is no key 'pw_aaaaaaaa'"),
        (users_app, ("keys", "rotate", "x" * 5000), "there is no key 'xxxxxxxxxxx'"),
        (users_app, ("set", "nobody"), "nothing to change: use --models"),
        (groups_app, ("rm", "no", "--yes"), "there is no group 'no'"),
        (groups_app, ("join", "no", "nobody"), "there is no person 'nobody'"),
        (groups_app, ("add", "g", "--models", "x" * 300), "not a valid pattern of models"),
    ],
)
def test_a_mistake_gets_one_clear_line(run, app, words, said):
    done = run(*words, app=app)
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_without_a_store_or_a_configuration_the_fix_is_named(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("plugins:\n  - use: accounts\n  - use: echo\n")
    done = CliRunner().invoke(users_app, ["list", "--config", str(config)])
    assert (done.exit_code, "add `- use: store` to its plugins" in done.stderr) == (1, True)
    done = CliRunner().invoke(users_app, ["list", "--config", str(tmp_path / "none.yaml")])
    assert (done.exit_code, "there is no such file" in done.stderr) == (1, True)


def test_the_password_of_the_database_is_read_as_in_the_gateway(tmp_path, postgres, monkeypatch):
    database = postgres.database()
    monkeypatch.setenv("DB_PASSWORD", database["password"])
    config = tmp_path / "config.yaml"
    config.write_text(
        f"plugins:\n  - use: store\n    options:\n      url: {database['url']}\n"
        "      password: {$env: DB_PASSWORD}\n  - use: accounts\n"
    )
    done = CliRunner().invoke(users_app, ["add", "ann", "--config", str(config)])
    assert done.exit_code == 0, done.stderr
    monkeypatch.setenv("DB_PASSWORD", "wrong")
    done = CliRunner().invoke(users_app, ["list", "--config", str(config)])
    assert done.exit_code == 1
    assert "password authentication failed" in done.stderr
    assert "check the user in `url`, and `password`" in done.stderr
    monkeypatch.delenv("DB_PASSWORD")
    done = CliRunner().invoke(users_app, ["list", "--config", str(config)])
    assert "DB_PASSWORD" in done.stderr
