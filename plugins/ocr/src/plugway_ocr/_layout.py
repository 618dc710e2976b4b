"""Text with its layout, from the lines that an engine found: reading order, columns, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_WIDE: Final = 2.0
"""Gap between two columns, in heights of a line."""
_TABLE_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a line, with its box in pixels."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top


Row = Sequence[Piece]
"""Pieces side by side, from left to right."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is written in a picture."""

    rows: Sequence[Row]
    """From top to bottom."""
    pitch: float | None = None
    """Pixels per character, if the font is monospaced."""
    left_out: int = 0
    """Pieces that were not read, because there were too many."""
    turn: int = 0
    """Degrees, counter-clockwise, by which the picture was turned before; boxes are those then."""

    @property
    def pieces(self) -> list[Piece]:
        """All pieces in reading order."""
        return [piece for block in _blocks(self.rows) for row in block for piece in row]

    @property
    def text(self) -> str:
        """The text as it is laid out in the picture."""
        if not self.rows:
            return ""
        if self.pitch is not None:
            return _in_grid(self.rows, self.pitch)
        blocks = _blocks(self.rows)
        texts = [_block_text(block) for block in blocks]
        if len(blocks) == 1:
            return texts[0]
        return "\n\n".join(f"{_place(b)}\n{t}" for b, t in zip(blocks, texts, strict=True))


def _in_grid(rows: Sequence[Row], pitch: float) -> str:
    """Each piece in its column, and an empty line where one is free."""
    origin = min(piece.left for row in rows for piece in row)
    steps = sorted(
        after[0].top - before[0].top
        for before, after in pairwise(rows)
        if after[0].top > before[0].top
    )
    step = steps[len(steps) // 4] if steps else 0.0
    lines: list[str] = []
    above: float | None = None
    for row in rows:
        if above is not None and step and row[0].top - above > 1.7 * step:
            lines.append("")
        line = ""
        for piece in row:
            column = round((piece.left - origin) / pitch)
            line = line.ljust(max(column, len(line) + 1) if line else column) + piece.text
        lines.append(line)
        above = row[0].top
    return "\n".join(lines)


def _blocks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """Parts of a page in reading order: tables stay whole, columns of text are read one after the
    other."""
    blocks: list[Sequence[Row]] = []
    at = 0
    while at < len(rows):
        end = _table_end(rows, at)
        if end - at >= _TABLE_ROWS:
            blocks.append(rows[at:end])
            at = end
            continue
        start = at
        while at < len(rows) and _table_end(rows, at) - at < _TABLE_ROWS:
            at += 1
        blocks += _columns(rows[start:at])
    return blocks


def _table_end(rows: Sequence[Row], start: int) -> int:
    """The row after those that have the same columns as row `start`."""
    first = rows[start]
    if len(first) < 2:
        return start
    end = start + 1
    while end < len(rows) and _same_columns(first, rows[end]):
        end += 1
    # Lines of a text in columns are long, cells of a table are short.
    texts = [piece.text for row in rows[start:end] for piece in row]
    return end if sum(map(len, texts)) / len(texts) < 30 else start


def _same_columns(row: Row, other: Row) -> bool:
    if len(row) != len(other):
        return False
    return all(
        min(abs(a.left - b.left), abs(a.right - b.right)) < 0.8 * a.height
        for a, b in zip(row, other, strict=True)
    )


def _columns(rows: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows in columns, if a gap goes through all of them; at least four rows are needed."""
    pieces = [piece for row in rows for piece in row]
    if len(rows) < 4 or not pieces:
        return [rows] if rows else []
    high = sorted(piece.height for piece in pieces)[len(pieces) // 2]
    end, cut = 0.0, 0.0
    for piece in sorted(pieces, key=lambda piece: piece.left):
        if end and piece.left - end > _WIDE * high:
            cut = (piece.left + end) / 2
            break
        end = max(end, piece.right)
    if not cut:
        return [rows]
    left = [part for row in rows if (part := [piece for piece in row if piece.left < cut])]
    right = [part for row in rows if (part := [piece for piece in row if piece.left > cut])]
    if min(len(left), len(right)) < 4:
        return [rows]
    return [left, *_columns(right)]


def _block_text(block: Sequence[Row]) -> str:
    if len(block) >= _TABLE_ROWS and _table_end(block, 0) == len(block):
        head, *rest = [[piece.text.replace("|", "\\|") for piece in row] for row in block]
        lines = [head, ["---"] * len(head), *rest]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n".join("  ".join(piece.text for piece in row) for row in block)


def _place(block: Sequence[Row]) -> str:
    pieces = [piece for row in block for piece in row]
    left, top = min(p.left for p in pieces), min(p.top for p in pieces)
    right, bottom = max(p.right for p in pieces), max(p.bottom for p in pieces)
    return f"[at {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}]"
