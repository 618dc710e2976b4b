"""`plugway budget`: what conversations have spent, and their limits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_budget_tree._limits import Limits

budget_app = typer.Typer(name="budget", help="What conversations have spent, and their limits.")
# Ids are text of clients, not markup.
_out = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)


@budget_app.command(epilog="Example: plugway budget 3f0c1a52")
def budget_command(
    conversation: Annotated[
        str, typer.Argument(help="The beginning of a conversation's id; default: all.")
    ] = "",
    config: Annotated[
        Path | None, typer.Option("--config", help="The gateway's configuration.", metavar="FILE")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what conversations with their subagents have spent."""
    try:
        document = LocalGateway.find(config).ask("GET", "/budget-tree/conversations")
    except PlugwayError as error:
        _fail(f"{error} (its configuration must list `budget-tree`)")
    rows = [as_object(row) for row in as_list(as_object(document).get("conversations"))]
    rows = [row for row in rows if str(row.get("conversation")).startswith(conversation)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        _fail(f"no conversation begins with {conversation!r}" if conversation else "none yet")
    table = Table("conversation", "caller", "spent", "running", "limits", box=None)
    for row in rows:
        table.add_row(*map(_printable, _cells(row)))
    _out.print(table)


def _cells(row: dict[str, Any]) -> list[str]:
    nano, reserved = (round(row[name] * 1e9) for name in ("dollars", "dollars_reserved"))
    spent = Limits(nano, row["tokens"], row["calls"]).listed
    if row["calls_unpriced"]:
        spent += f" ({row['calls_unpriced']} without a price)"
    running = Limits(reserved, calls=row["calls_running"], agents=row["agents"]).listed
    limits = Limits(**as_object(row["limits"])).listed or "none"
    return [str(row["conversation"]), str(row["caller"]), spent, running, limits]


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _fail(message: str) -> NoReturn:
    print(f"plugway budget: {message}", file=sys.stderr)
    raise typer.Exit(1)
