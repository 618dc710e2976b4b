"""`plugway keys` with a store of this process: what is stored, shown, tried and refused."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from keyring.backend import KeyringBackend
from typer.testing import CliRunner

import plugway.upstream.origins
from plugway import StoredKey
from plugway.testing import ScriptedUpstream, anthropic_error, respond
from plugway_keyring import _store
from plugway_keyring._commands import keys_app
from plugway_keyring._places import KNOWN, try_key
from plugway_keyring._store import Keyring

CANARY = "sk-canary-4f8d2b9c7e1a6f30-Zq9x"


class MemoryKeyring(KeyringBackend):
    """A real backend of the `keyring` package whose store is this process."""

    priority = 5
    held: dict[tuple[str, str], str] = {}

    def get_password(self, service, username):
        return self.held.get((service, username))

    def set_password(self, service, username, password):
        self.held[service, username] = password

    def delete_password(self, service, username):
        del self.held[service, username]


class ForgetfulKeyring(MemoryKeyring):
    def set_password(self, service, username, password):
        pass


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "PLUGWAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def store(home, monkeypatch):
    monkeypatch.setattr(_store, "KEYRINGS", (f"{__name__}.MemoryKeyring",))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[MemoryKeyring.__module__])
    MemoryKeyring.held = {}
    yield MemoryKeyring.held
    plugway.upstream.origins._bound.clear()


def run(*words, stdin=""):
    done = CliRunner().invoke(keys_app, list(words), input=stdin)
    assert CANARY not in done.output
    return done


def test_a_key_from_standard_input_is_stored_with_its_address(store, home):
    done = run("set", "work", "--for", "https://gateway.example.com/v1", stdin=CANARY + "\n")
    assert done.exit_code == 0
    assert done.stdout == ""
    assert Keyring().read("work") == StoredKey(CANARY, "https://gateway.example.com")
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert not any(CANARY.encode() in content for content in files)


def test_the_address_of_a_known_name_needs_not_be_said(store):
    assert run("set", "anthropic", stdin=CANARY).exit_code == 0
    assert Keyring().read("anthropic") == StoredKey(CANARY, "https://api.anthropic.com")


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (("set", "work", CANARY), "", "never given on the command line"),
        (("set", "work"), CANARY, "where may `work` be sent"),
        (("set", "work", "--for", "http://example.com"), CANARY, "clear text"),
        (("set", "work", "--for", "example.com"), CANARY, "must start with http"),
        (("set", "Work/1", "--anywhere"), CANARY, "a key's name is"),
        (("set", "openai"), "  \n", "no key was given"),
        (("set", "openai"), f"{CANARY}\nsecond line", "one word of visible ASCII"),
        (("set", "openai"), "k" * 2000, "longer than 1024"),
        (("test", "openai"), "", "holds no `openai`"),
        (("rm", "openai", "--yes"), "", "held no `openai`"),
        (("rm", "openai"), "n\n", "Remove `openai`"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(store, words, stdin, says):
    done = run(*words, stdin=stdin)
    assert done.exit_code in (1, 2)
    assert says in done.stderr
    assert not store


def test_the_list_shows_names_addresses_and_last_characters(store, home):
    run("set", "openai", stdin=CANARY)
    run("set", "gate", "--anywhere", stdin="short-token")
    config = home / ".config/plugway/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(
        "plugins:\n"
        "  - use: one\n    options: {api_key: {$keyring: openai}}\n"
        '  - use: two\n    options: {api_key: {"$keyring": "absent"}}\n'
        "  # - use: three {api_key: {$keyring: commented}}\n"
    )
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows["openai"] == {
        "name": "openai",
        "origin": "https://api.openai.com",
        "ends_in": CANARY[-4:],
        "used": True,
        "state": "stored",
    }
    assert rows["gate"]["ends_in"] == "*"
    assert rows["absent"]["state"] == "missing: run `plugway keys set absent`"
    assert "commented" not in rows
    assert CANARY[-4:] in run("list").stdout


def test_the_list_shows_what_another_configuration_refers_to(store, home):
    other = home / "other.yaml"
    other.write_text("plugins:\n  - use: one\n    options: {api_key: {$keyring: absent}}\n")
    rows = json.loads(run("list", "--json", "--config", str(other)).stdout)
    assert [(row["name"], row["used"]) for row in rows] == [("absent", True)]
    assert json.loads(run("list", "--json").stdout) == []
    assert run("list", "--config", str(home / "none.yaml")).exit_code == 1


def test_a_removed_key_is_gone_from_the_list_too(store):
    run("set", "openai", stdin=CANARY)
    assert run("rm", "openai", "--yes").exit_code == 0
    assert json.loads(run("list", "--json").stdout) == []
    assert not store


def test_a_store_that_does_not_give_back_what_it_took_is_told(store, monkeypatch):
    monkeypatch.setattr(_store, "KEYRINGS", (f"{__name__}.ForgetfulKeyring",))
    done = run("set", "openai", stdin=CANARY)
    assert "did not give it back" in str(done.exception)
    assert json.loads(run("list", "--json").stdout) == []


@pytest.fixture
def serve(monkeypatch):
    """Runs a synchronous command while a scripted upstream answers."""

    async def during(upstream_script, words):
        async with ScriptedUpstream(*upstream_script) as upstream:
            full = [word.replace("{url}", upstream.url) for word in words]
            Keyring().write("work", StoredKey(CANARY, upstream.url))
            done = await anyio.to_thread.run_sync(lambda: run(*full))
            return done, upstream.requests

    return lambda script, *words: anyio.run(during, script, words)


def test_a_key_is_tried_at_its_own_address(store, serve):
    script = [respond(200, {"data": [{"id": "a"}, {"id": "b"}]})]
    done, (request,) = serve(script, "test", "work", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["models"] == 2
    assert (request.method, request.path) == ("GET", "/v1/models")
    assert request.header("authorization") == f"Bearer {CANARY}"


def test_a_refused_key_is_tried_in_the_other_header_and_told(store, serve):
    refusal = anthropic_error(401, "authentication_error", "invalid x-api-key")
    done, requests = serve([refusal, refusal], "test", "work")
    assert done.exit_code == 1
    assert "refuses the key: invalid x-api-key" in done.stdout
    assert [bool(request.header("x-api-key")) for request in requests] == [False, True]


def test_a_redirect_does_not_take_the_key_along(store, serve):
    script = [respond(302, b"", headers=[("location", "http://127.0.0.1:9/v1/models")])]
    done, requests = serve(script, "test", "work")
    assert done.exit_code == 1
    assert "redirects" in done.stdout
    assert len(requests) == 1


def test_a_key_is_not_tried_anywhere_else(store, serve):
    done, requests = serve([], "test", "work", "--for", "https://example.com")
    assert done.exit_code == 2
    assert "is sent nowhere else" in done.stderr
    assert not requests


def test_a_server_that_is_not_there_is_told(store):
    verdict = anyio.run(try_key, "http://127.0.0.1:9", CANARY)
    assert not verdict.ok
    assert verdict.fix


def test_known_addresses_are_safe_ones():
    assert all(place.origin.startswith("https://") for place in KNOWN.values())


@pytest.mark.parametrize("backend", ["null", "fail", "chainer.ChainerBackend"])
def test_the_refusing_and_forgetting_stores_of_the_library_are_not_used(home, backend):
    chosen = backend if "." in backend else f"{backend}.Keyring"
    done = subprocess.run(
        [Path(sys.executable).with_name("plugway"), "keys", "set", "openai"],
        input=CANARY,
        capture_output=True,
        text=True,
        env={
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere",
            "PYTHON_KEYRING_BACKEND": f"keyring.backends.{chosen}",
        },
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    for words in ("no keyring that can be trusted", "{$env: OPENAI_API_KEY}", "umask 077"):
        assert words in done.stderr
    assert CANARY not in done.stderr
