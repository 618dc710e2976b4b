"""The tables of `docs/compatibility.md`, written from what was found."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio

from tests.matrix.cells import Cell, verb
from tests.matrix.servers import SERVERS
from tests.matrix.trying import DIALECTS, Matrix, Section, matrix

_SHORT = {"dropped with a line": "dropped"}


def found() -> Matrix:
    """The matrix, tried in folders of its own."""
    names = [f"XDG_{name}_HOME" for name in ("CONFIG", "DATA", "STATE", "CACHE")]
    before = {name: os.environ.get(name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        try:
            os.environ.update({name: str(Path(folder, name)) for name in names})
            return anyio.run(partial(matrix))
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def text(cells: Matrix) -> str:
    """The generated part of the page."""
    return "\n".join(line for dialect in DIALECTS for line in _dialect(dialect, cells[dialect]))


def _dialect(dialect: str, sections: dict[str, Section]) -> Iterator[str]:
    notes: dict[str, int] = {}
    yield f"## {DIALECTS[dialect].title}: `POST {DIALECTS[dialect].path}`\n"
    yield f"| | {' | '.join(f'`{name}`' for name in SERVERS)} |"
    yield f"| --- {'| --- ' * len(SERVERS)}|"
    for section, rows in sections.items():
        yield f"| **{section}** {'| ' * len(SERVERS)}|"
        for row, cells in rows.items():
            words = " | ".join(_word(cells[name], notes) for name in SERVERS)
            yield f"| {row} | {words} |"
    yield "\nLines on the receipt, or error messages:\n"
    yield from (f"{number}. {note}" for note, number in notes.items())
    yield ""


def _word(cell: Cell, notes: dict[str, int]) -> str:
    """A cell with the numbers of its notes."""
    lines = cell.lines if cell.word == "refused" else [one for one in cell.lines if verb(one)]
    numbers = [notes.setdefault(line, len(notes) + 1) for line in dict.fromkeys(lines)]
    shown = f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else ""
    return _SHORT.get(cell.word, cell.word) + shown
