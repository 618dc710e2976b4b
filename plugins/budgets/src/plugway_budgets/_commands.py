"""`plugway budgets`: set, list and remove limits, and report what was spent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from plugway import LocalGateway, PlugwayError
from plugway_budgets import _ledger as ledger
from plugway_budgets._limits import BUDGETS, EVERYBODY, MOST, Limit, Subject, Unit, subject_of
from plugway_budgets._periods import PERIODS, PeriodName, zone_of
from plugway_budgets._report import report
from plugway_budgets._schema import SCHEMA
from plugway_prices import DOLLAR, dollars, nano_dollars
from plugway_store import Schema, Store, run_with_store

T = TypeVar("T")

budgets_app = typer.Typer(
    name="budgets",
    help="Budgets and rates of people, groups and keys, and what they spent.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_BY: Final = ("person", "group", "key", "model", "day")
_WHOLE: Final = re.compile(r"[0-9][0-9_,]*")

Whose = Annotated[
    str,
    typer.Argument(
        help="`person:NAME`, `group:NAME` or `key:ID`; `person:*` is each without an own one.",
        metavar="WHOSE",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration that names the database.", metavar="FILE"),
]
Per = Annotated[str, typer.Option("--per", help="Period of the budget: day, week or month.")]


@budgets_app.command(
    "set",
    epilog="Examples: plugway budgets set person:ann --dollars 5 --per day --zone Europe/Berlin; "
    "plugway budgets set group:interns --tokens 2000000 --per week; "
    "plugway budgets set 'key:*' --requests-a-minute 60 --streams 4. "
    "Exit codes: 0 set, 1 not set, 2 usage.",
)
def set_command(
    whose: Whose,
    in_dollars: Annotated[
        str, typer.Option("--dollars", help="Budget in US dollars, such as 0.50.", metavar="AMOUNT")
    ] = "",
    tokens: Annotated[
        str, typer.Option("--tokens", help="Budget in tokens, of prompts and replies.")
    ] = "",
    requests: Annotated[
        str, typer.Option("--requests-a-minute", help="Requests that may begin in a minute.")
    ] = "",
    rate: Annotated[
        str, typer.Option("--tokens-a-minute", help="Tokens that may be used in a minute.")
    ] = "",
    streams: Annotated[
        str, typer.Option("--streams", help="Requests that may run at the same time.")
    ] = "",
    per: Per = "month",
    zone: Annotated[
        str, typer.Option("--zone", help="Time zone in which the period begins.")
    ] = "UTC",
    config: ConfigPath = None,
) -> None:
    """Set limits; others stay as they are. Running gateways follow within seconds."""
    subject = _valid(subject_of, whose)
    period = _period(per)
    _valid(zone_of, zone)
    given: Mapping[Unit, str] = {
        "dollars": in_dollars,
        "tokens": tokens,
        "requests": requests,
        "tokens_a_minute": rate,
        "streams": streams,
    }
    limits: list[Limit] = []
    for unit, text in given.items():
        if not text:
            continue
        amount = _dollars(text) if unit == "dollars" else _whole(unit, text)
        if unit in BUDGETS:
            limits.append(Limit(0, subject, unit, amount, period, zone))
        else:
            limits.append(Limit(0, subject, unit, amount))
    if not limits:
        _fail(
            "nothing to set: give `--dollars`, `--tokens`, `--requests-a-minute`, "
            "`--tokens-a-minute` or `--streams`",
            2,
        )

    async def work(store: Store) -> None:
        for limit in limits:
            await store.write(ledger.set_limit, limit)

    _run(work, config)
    for limit in limits:
        print(f"{subject}: {_described(limit)}")
    _note_unknown(subject, config)


@budgets_app.command("list", epilog="Example: plugway budgets list --json")
def list_command(config: ConfigPath = None, as_json: Json = False) -> None:
    """List all limits, with what is spent of each budget in its current period."""

    async def work(store: Store) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        now = datetime.now(UTC)
        for subject, limits in (await store.read(ledger.all_limits)).items():
            for limit in limits:
                balances = await store.read(ledger.balances_in, limit, now)
                rows = [(name, one.spent, one.reserved) for name, one in balances.items()]
                found.append(_row(subject, limit, rows))
        return found

    rows = _run(work, config)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("no limits: `plugway budgets set --help` shows how to add one")
        return
    table = Table("whose", "limit", "spent", "reserved by running requests", box=None)
    for row in rows:
        for line in row["accounts"] or [{"owner": "", "spent": "", "reserved": ""}]:
            owner = f" ({line['owner']})" if row["whose"].endswith(":*") and line["owner"] else ""
            table.add_row(row["whose"] + owner, row["text"], line["spent"], line["reserved"])
    _console().print(table)


@budgets_app.command(
    "rm",
    epilog="Examples: plugway budgets rm person:ann; plugway budgets rm person:ann --unit dollars. "
    "Exit codes: 0 removed, 1 nothing to remove, 2 usage.",
)
def remove_command(
    whose: Whose,
    unit: Annotated[
        str, typer.Option("--unit", help="Only the limit in this unit, as in `list --json`.")
    ] = "",
    per: Annotated[str, typer.Option("--per", help="Only the budget of this period.")] = "",
    config: ConfigPath = None,
) -> None:
    """Remove the limits of a person, group or key, with what was spent of them. The report of
    `spending` stays."""
    subject = _valid(subject_of, whose)
    period = _period(per) if per else None

    async def work(store: Store) -> int:
        return await store.write(ledger.remove_limits, subject, unit or None, period)

    removed = _run(work, config)
    if not removed:
        _fail(f"`{subject}` has no such limit: `plugway budgets list` shows all")
    print(f"removed {removed} of `{subject}`")


@budgets_app.command(
    "spending",
    epilog="Examples: plugway budgets spending; plugway budgets spending --by person,model "
    "--since 2026-11-01 --json",
)
def spending_command(
    by: Annotated[
        str, typer.Option("--by", help=f"Columns, with commas between: {', '.join(_BY)}.")
    ] = "person,model",
    since: Annotated[
        str, typer.Option("--since", help="First day (UTC).", metavar="YYYY-MM-DD")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", help="Last day (UTC).", metavar="YYYY-MM-DD")
    ] = "",
    config: ConfigPath = None,
    as_json: Json = False,
) -> None:
    """Report what was spent; by default in the last 30 days."""
    columns = [name.strip() for name in by.split(",")]
    if wrong := [name for name in columns if name not in _BY]:
        _fail(f"unknown column {wrong[0]!r} in `--by`: use {', '.join(_BY)}", 2)
    today = datetime.now(UTC).date()
    first = _day(since) if since else today - timedelta(days=29)
    last = _day(until) if until else today
    begin = int(datetime.combine(first, time(), UTC).timestamp())
    end = int(datetime.combine(last, time(), UTC).timestamp()) + 86_400

    async def work(store: Store) -> Sequence[Mapping[str, Any]]:
        return await store.read(report, list(dict.fromkeys(columns)), begin, end)

    rows = _run(work, config)
    if as_json:
        named = [{**row, "dollars": float(Decimal(row["nano"]) / DOLLAR)} for row in rows]
        print(json.dumps(named, indent=2))
        return
    table = Table(*columns, "requests", "input", "cached", "output", "cost", box=None)
    for row in rows:
        notes = [f"{row['unpriced']} without a price"] if row["unpriced"] else []
        notes += [f"{row['unmeasured']} estimated"] if row["unmeasured"] else []
        cost = dollars(row["nano"]) + (f" ({', '.join(notes)})" if notes else "")
        cells = (
            row["requests"],
            row["input"] + row["cache_write"],
            row["cache_read"],
            row["output"],
        )
        table.add_row(*(row[name] for name in columns), *(f"{n:,}" for n in cells), cost)
    if rows:
        _console().print(table)
    else:
        print(f"nothing was spent from {first} to {last}")


def _row(
    subject: Subject, limit: Limit, balances: Sequence[tuple[str, int, int]]
) -> dict[str, Any]:
    accounts = [
        {
            "owner": owner,
            "spent": limit.text_of(spent) if limit.unit in BUDGETS else "",
            "reserved": limit.text_of(reserved) if reserved else "",
            "spent_amount": _amount(limit.unit, spent),
            "reserved_amount": _amount(limit.unit, reserved),
        }
        for owner, spent, reserved in balances
    ]
    return {
        "whose": str(subject),
        "unit": limit.unit,
        "amount": _amount(limit.unit, limit.amount),
        "period": limit.period if limit.unit in BUDGETS else None,
        "zone": limit.zone if limit.unit in BUDGETS else None,
        "text": _described(limit),
        "accounts": accounts,
    }


def _amount(unit: Unit, amount: int) -> float:
    """An amount in its unit, for a script."""
    return float(Decimal(amount) / DOLLAR) if unit == "dollars" else amount


def _described(limit: Limit) -> str:
    if limit.unit in BUDGETS:
        return f"{limit.text} a {limit.period} ({limit.zone})"
    if limit.unit == "streams":
        return f"{limit.amount:,} requests at once"
    what = "requests" if limit.unit == "requests" else "tokens"
    return f"{limit.amount:,} {what} a minute"


def _run(work: Callable[[Store], Awaitable[T]], config: Path | None, schema: Schema = SCHEMA) -> T:
    try:
        return run_with_store(schema, work, config)
    except PlugwayError as error:
        _fail(str(error))


def _note_unknown(subject: Subject, config: Path | None) -> None:
    """Say if `accounts`, where the configuration lists it, has no such person or group."""
    listed = any(entry.use == "accounts" for entry in LocalGateway.find(config).plugins())
    if subject.kind == "key" or subject.name == EVERYBODY or not listed:
        return
    accounts = import_module("plugway_accounts")  # optional: budgets hold for tokens too

    async def work(store: Store) -> bool:
        people = accounts.People(store)
        if subject.kind == "person":
            return await people.person(subject.name) is not None
        return subject.name in {group.name for group in await people.groups()}

    if not _run(work, config, accounts.SCHEMA):
        everybody = "users" if subject.kind == "person" else "groups"
        print(
            f"note: there is no {subject.kind} `{subject.name}` yet, so this limits nobody; "
            f"`plugway {everybody} list` shows all",
            file=sys.stderr,
        )


def _dollars(text: str) -> int:
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        _fail(f"`--dollars {text}`: expected an amount such as 0.50", 2)
    if not amount.is_finite() or amount < 0:
        _fail(f"`--dollars {text}`: expected an amount of 0 or more", 2)
    if amount * DOLLAR > MOST:
        _fail(f"`--dollars {text}`: the most is {MOST // DOLLAR:,}; no limit allows more", 2)
    return nano_dollars(amount)


def _whole(unit: Unit, text: str) -> int:
    option = "--" + unit.replace("_", "-") + ("-a-minute" if unit == "requests" else "")
    if not _WHOLE.fullmatch(text):
        _fail(f"`{option} {text}`: expected a whole number", 2)
    amount = int(text.replace(",", "").replace("_", ""))
    if amount > MOST:
        _fail(f"`{option} {text}`: the most is {MOST:,}; no limit allows more", 2)
    if amount == 0 and unit not in BUDGETS:
        _fail(f"`{option} 0` would reject everything: use `--tokens 0`, or revoke the key", 2)
    return amount


def _period(text: str) -> PeriodName:
    for name in PERIODS:
        if name == text:
            return name
    _fail(f"`--per {text}`: use {', '.join(PERIODS)}", 2)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        _fail(f"{text!r} is not a day: use YYYY-MM-DD", 2)


def _valid(check: Callable[[str], T], text: str) -> T:
    try:
        return check(text)
    except ValueError as error:
        _fail(str(error), 2)


def _console() -> Console:
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"plugway: {message}", file=sys.stderr)
    raise typer.Exit(code)
