"""`plugway sign-ins`: who is signed in, in the configured database.

Works whether the gateway runs or not; a sign-in that is ended is refused with the next request.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import orjson
import typer
from sqlalchemy import Select, delete, select

from plugway import PlugwayError
from plugway_sign_in._tables import IDENTITIES, SCHEMA, SESSIONS
from plugway_store import Store, run_with_store

T = TypeVar("T")

sign_ins_app = typer.Typer(
    name="sign-ins",
    help="People who are signed in by /login. Needs the plugin `sign-in`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Name of the person.")]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration to use.", metavar="FILE")
]
_SHOWN: Final = 8
"""How much of an id is shown, and enough to end a sign-in by."""


@sign_ins_app.command("list")
def list_sign_ins(
    name: Annotated[str, typer.Argument(help="Only those of this person.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
    config: ConfigPath = None,
) -> None:
    """List sign-ins that last, the newest first."""
    found: Select[Any] = select(SESSIONS).where(SESSIONS.c.expires > time.time())
    found = found.where(SESSIONS.c.person == name) if name else found
    rows = [
        {
            "id": row.id[:_SHOWN],
            "person": row.person,
            "client": row.surface,
            "since": _timestamp(row.created),
            "until": _timestamp(row.expires),
        }
        for row in _run(config, lambda store: store.all(found.order_by(SESSIONS.c.created.desc())))
    ]
    if as_json:
        print(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
    elif rows:
        _print_table([list(rows[0]), *(list(row.values()) for row in rows)])
    else:
        print("nobody is signed in", file=sys.stderr)


@sign_ins_app.command("end")
def end_sign_ins(
    name: Name,
    which: Annotated[str, typer.Option("--id", help="Only this one, from `list`.")] = "",
    config: ConfigPath = None,
) -> None:
    """Sign a person out everywhere, or on one machine. The person can sign in again."""
    ended = delete(SESSIONS).where(SESSIONS.c.person == name)
    if which:
        ended = ended.where(SESSIONS.c.id.startswith(which, autoescape=True))
    count = _run(config, lambda store: store.execute(ended))
    print(f"ended {count} sign-in{'' if count == 1 else 's'} of {name}", file=sys.stderr)
    if not count:
        raise typer.Exit(1)


@sign_ins_app.command("forget")
def forget_identity(name: Name, config: ConfigPath = None) -> None:
    """Forget who a person is at the provider, such as after a change of providers.

    Whoever signs in next and has that name at the provider becomes this person.
    """
    forgotten = delete(IDENTITIES).where(IDENTITIES.c.person == name)
    if not _run(config, lambda store: store.execute(forgotten)):
        print(f"{name} has not signed in with a provider", file=sys.stderr)
        raise typer.Exit(1)
    print(f"forgot who {name} is at the provider", file=sys.stderr)


def _run(config: Path | None, work: Callable[[Store], Awaitable[T]]) -> T:
    """The result of work on the configured database; prints a failure and exits."""
    try:
        return run_with_store(SCHEMA, work, config)
    except PlugwayError as error:
        print(f"plugway: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
