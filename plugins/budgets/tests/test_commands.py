"""`plugway budgets`, with a real configuration and database."""

import json

import pytest
from typer.testing import CliRunner

from plugway_accounts._commands import groups_app, users_app
from plugway_budgets import _ledger as ledger
from plugway_budgets._commands import budgets_app
from plugway_budgets._ledger import Charge, Settlement
from plugway_budgets._report import report
from plugway_budgets._schema import SCHEMA
from plugway_store import StoreOptions, open_store

pytestmark = pytest.mark.anyio
DAY = 1_795_996_800  # 2026-11-30


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "plugway.yaml"
    url = str(tmp_path / "store.db")
    config.write_text(json.dumps({"plugins": [{"use": "store", "options": {"url": url}}]}))

    def run(*words):
        done = CliRunner().invoke(budgets_app, [*words, "--config", str(config)])
        return done.exit_code, done.stdout, done.stderr

    run.url, run.config = url, config
    return run


def test_limits_are_set_listed_changed_and_removed(run):
    words = ("set", "person:ann", "--dollars", "0.10", "--per", "day", "--zone", "Europe/Berlin")
    assert run(*words) == (0, "person:ann: $0.10 a day (Europe/Berlin)\n", "")
    assert run("set", "group:dev", "--tokens", "2,000,000")[0] == 0
    assert run("set", "key:*", "--requests-a-minute", "60", "--streams", "4")[0] == 0
    assert run("set", "person:ann", "--dollars", "5", "--per", "day")[0] == 0
    found = json.loads(run("list", "--json")[1])
    assert [(one["whose"], one["text"]) for one in found] == [
        ("person:ann", "$5.00 a day (UTC)"),
        ("group:dev", "2,000,000 tokens a month (UTC)"),
        ("key:*", "60 requests a minute"),
        ("key:*", "4 requests at once"),
    ]
    assert [one["amount"] for one in found] == [5.0, 2_000_000, 60, 4], "dollars in dollars"
    assert "2,000,000 tokens a month" in run("list")[1]
    assert run("rm", "key:*", "--unit", "streams") == (0, "removed 1 of `key:*`\n", "")
    assert run("rm", "person:ann")[0] == 0
    code, _, said = run("rm", "person:ann")
    assert code == 1
    assert "`person:ann` has no such limit: `plugway budgets list` shows all" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ann", "--dollars", "1"), "use `person:NAME`"),
        (("person:ann", "--dollars", "-1"), "expected an amount of 0 or more"),
        (("person:ann", "--dollars", "NaN"), "expected an amount of 0 or more"),
        (("person:ann", "--dollars", "1e30"), "the most is 9,007,199"),
        (("person:ann", "--dollars", "five"), "expected an amount such as 0.50"),
        (("person:ann", "--tokens", "1.5"), "expected a whole number"),
        (("person:ann", "--tokens", "-3"), "expected a whole number"),
        (("person:ann", "--tokens", "9" * 30), "the most is"),
        (("person:ann", "--requests-a-minute", "0"), "would reject everything"),
        (("person:ann", "--dollars", "1", "--per", "year"), "use day, week, month"),
        (("person:ann", "--dollars", "1", "--zone", "Berlin"), "unknown time zone 'Berlin'"),
        (("person:ann",), "nothing to set"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_fix(run, words, says):
    code, _, said = run("set", *words)
    assert code == 2
    assert says in said
    assert json.loads(run("list", "--json")[1]) == []


def test_a_limit_of_somebody_whom_accounts_do_not_know_is_set_with_a_note(run):
    names = ("person:ann", "group:interns", "person:*", "key:phone")
    said = {name: run("set", name, "--tokens", "5")[2] for name in names}
    assert not any(said.values()), "without accounts every name may be right"
    config = json.loads(run.config.read_text())
    config["plugins"].append({"use": "accounts"})
    run.config.write_text(json.dumps(config))
    for app, *words in ((users_app, "add", "ann"), (groups_app, "add", "staff")):
        assert CliRunner().invoke(app, [*words, "--config", str(run.config)]).exit_code == 0
    for name in ("person:anne", "group:interns"):
        code, out, note = run("set", name, "--tokens", "5")
        kind, _, rest = name.partition(":")
        assert (code, f"there is no {kind} `{rest}` yet" in note) == (0, True), out
    for name in ("person:ann", "group:staff", "person:*", "group:*", "key:phone"):
        code, _, note = run("set", name, "--tokens", "5")
        assert (code, note) == (0, "")


def test_a_budget_of_nothing_is_a_budget(run):
    assert run("set", "person:ann", "--dollars", "0")[0] == 0
    assert "$0.00 a month" in run("list")[1]


def test_without_a_database_the_message_says_what_to_add(tmp_path):
    config = tmp_path / "plugway.yaml"
    config.write_text("plugins: []")
    done = CliRunner().invoke(budgets_app, ["list", "--config", str(config)])
    assert done.exit_code == 1
    assert "add `- use: store` to its plugins" in done.stderr


async def booked(url):
    async with open_store(StoreOptions(url=url)) as store:
        await store.migrate(SCHEMA)
        for number, (person, groups, target, nano) in enumerate(
            [
                ("ann", ("dev", "ops"), "up/big", 10**9),
                ("ann", ("dev", "ops"), "up/small", 10**8),
                ("bob", ("dev",), "up/big", None),
            ]
        ):
            charge = Charge(
                DAY + 3600 * number, person, groups, "k", target, 100, 10, 5, 0, nano, number != 1
            )
            await store.write(ledger.settle, [Settlement(f"r{number}", (), charge)])


async def test_spending_is_reported_by_any_columns(run, anyio_backend):
    await booked(run.url)
    import anyio.to_thread

    async def report(*words):
        since = ("--since", "2026-11-30", "--until", "2026-11-30")
        code, out, err = await anyio.to_thread.run_sync(run, "spending", *words, *since)
        assert code == 0, err
        return out

    by_person = json.loads(await report("--by", "person", "--json"))
    assert [(one["person"], one["requests"], one["dollars"]) for one in by_person] == [
        ("ann", 2, 1.1),
        ("bob", 1, 0.0),
    ]
    assert (by_person[0]["unmeasured"], by_person[1]["unpriced"]) == (1, 1)
    by_group = json.loads(await report("--by", "group,day", "--json"))
    assert [(one["group"], one["day"], one["requests"]) for one in by_group] == [
        ("dev", "2026-11-30", 3),
        ("ops", "2026-11-30", 2),
    ]
    table = await report()
    assert "$0.10 (1 estimated)" in table
    assert "$0.00 (1 without a price)" in table
    assert "nothing was spent" in await anyio.to_thread.run_sync(
        lambda: run("spending", "--since", "2020-01-01", "--until", "2020-01-02")[1]
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--by", "person,colour"), "unknown column 'colour'"),
        (("--since", "yesterday"), "use YYYY-MM-DD"),
    ],
)
def test_a_wrong_report_is_refused(run, words, says):
    code, _, said = run("spending", *words)
    assert code == 2
    assert says in said


async def test_the_report_is_the_same_on_both_databases(database):
    async with open_store(StoreOptions(**database)) as store:
        await store.migrate(SCHEMA)
        charge = Charge(DAY, "ann", ("dev",), "k", "up/m", 1, 2, 3, 4, 5, True)
        await store.write(ledger.settle, [Settlement("r", (), charge)])
        rows = await store.read(report, ["day", "group", "model"], DAY, DAY + 86_400)
    (row,) = rows
    assert (row["day"], row["group"], row["model"], row["nano"]) == (
        "2026-11-30",
        "dev",
        "up/m",
        5,
    )
