"""People, groups and keys on a terminal, and as JSON for scripts."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from plugway_accounts._keys import NewKey
from plugway_accounts._records import Group, Key, Person

Record = Person | Group | Key
_TIMES: Final = ("created", "disabled", "expires", "revoked", "last_used")


def timestamp(seconds: int | None) -> str | None:
    """A time as text (RFC 3339, UTC)."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_data(record: Record) -> dict[str, Any]:
    """A record for JSON; times are text, and a key has its state."""
    found = {
        name: timestamp(value) if name in _TIMES else value
        for name, value in asdict(record).items()
    }
    return {**found, "state": record.state(time.time())} if isinstance(record, Key) else found


def one(record: Record, as_json: bool) -> None:
    """Print a record if JSON is wanted; otherwise a message says enough."""
    if as_json:
        _print_json(as_data(record))


def removed(name: str, as_json: bool) -> None:
    """Print what was removed if JSON is wanted."""
    if as_json:
        _print_json({"removed": name})


def table(records: Sequence[Record], as_json: bool, hint: str) -> None:
    """Print records; `hint` is for none."""
    rows = [as_data(record) for record in records]
    if as_json:
        _print_json(rows)
    elif not rows:
        print(hint, file=sys.stderr)
    else:
        _print_table(rows)


def person(found: Person, keys: Sequence[Key], as_json: bool) -> None:
    """Print a person with all keys."""
    if as_json:
        _print_json({**as_data(found), "keys": [as_data(key) for key in keys]})
        return
    for name, value in as_data(found).items():
        print(f"{name.replace('_', ' '):<14}{_text(value)}")
    if keys:
        print()
        _print_table([as_data(key) for key in keys])


def new_key(made: NewKey, name: str, expires: int | None, as_json: bool) -> None:
    """Print a key, which nothing shows again."""
    if as_json:
        ends = timestamp(expires)
        _print_json({"person": name, "id": made.id, "key": made.secret, "expires": ends})
        return
    print(made.secret)
    ends = f", expires {timestamp(expires)}" if expires else ""
    print(
        f"key of `{name}`{ends}. It is not shown again. In Claude Code: "
        "export ANTHROPIC_AUTH_TOKEN=KEY",
        file=sys.stderr,
    )


def _print_json(data: object) -> None:
    print(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def _print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [[name.replace("_", " ") for name in rows[0]]]
    lines += [[_text(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"  # pyright: ignore[reportUnknownArgumentType]
    return "-" if value in (None, "") else str(value)
