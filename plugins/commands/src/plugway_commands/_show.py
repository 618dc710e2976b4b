"""Prints JSON in readable form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from rich.console import Console, RenderableType
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


def show(document: object, console: Console, title: str) -> None:
    """Print JSON in readable form: plain values in one table, everything else below it."""
    if not isinstance(document, Mapping):
        console.print(JSON(json.dumps(document)))
        return
    mapping = cast("Mapping[str, object]", document)
    facts = Table.grid(padding=(0, 2))
    for key, value in mapping.items():
        if not isinstance(value, Mapping | list):
            facts.add_row(Text(_label(key), style="bold"), Text(_plain(key, value)))
    console.print(Panel(facts, title=title, title_align="left", expand=False))
    for key, value in mapping.items():
        if isinstance(value, Mapping | list) and value:
            block = _block(cast("object", value))
            console.print(Text(_label(key), style="bold"))
            console.print(block, soft_wrap=isinstance(block, JSON))  # never truncates a line


def _block(value: object) -> RenderableType:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    if rows and all(_is_flat(row) for row in rows):
        return _table(cast("list[Mapping[str, object]]", rows))
    if rows and all(isinstance(row, str) for row in rows):
        return Text("\n".join(f"  {row}" for row in rows))
    return JSON(json.dumps(value))


def _is_flat(row: object) -> bool:
    if not isinstance(row, Mapping):
        return False
    values = cast("Mapping[str, object]", row).values()
    return all(not isinstance(value, Mapping | list) for value in values)


def _table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows as a table, with the keys of all rows as columns."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    grid = Table(*[_label(column) for column in columns], box=None, padding=(0, 2))
    for row in rows:
        grid.add_row(*[Text(_plain(column, row.get(column))) for column in columns])
    return grid


def _label(key: str) -> str:
    return key.removesuffix("_seconds").replace("_", " ")


def _plain(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_seconds") and isinstance(value, int | float):
        return _duration(value)
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{days} days {hours % 24} h"
