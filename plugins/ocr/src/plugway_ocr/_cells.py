"""Characters in the columns of a monospaced font: restores what recognizers collapse.

A recognizer reads `=====` as `==`, because equal neighbours look like one, and any gap as one
space. In a monospaced line, the places of its other characters say how many there are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ink = NDArray[np.bool_]

_RULES: Final = frozenset("=-_.*#~+^─━")
"""Characters that occur in long runs."""
_CAPITAL_O: Final = re.compile(r"(?<=[A-Z])0(?=[A-Z])|\b0(?=[a-z]{2,}\b)(?![xbo])")
"""A zero that stands where only a letter makes sense: `ERR0R`, `0ct`."""
_LEAST: Final = 8
"""Characters that a line needs for its pitch to be known."""


@dataclass(frozen=True, slots=True)
class Glyph:
    """A character and the pixel of its middle."""

    text: str
    x: float
    spaced: bool = False
    """Whether the recognizer saw a space before it."""


def pitch_of(lines: Sequence[Sequence[Glyph]]) -> float | None:
    """Pixels from one character to the next; None if the font is not monospaced."""
    gaps: list[float] = []
    for line in lines:
        for one, other in pairwise(line):
            gaps.append(other.x - one.x)
    if len(gaps) < _LEAST:
        return None
    typical = float(np.median(gaps))
    if typical <= 0:
        return None
    near = [gap for gap in gaps if 0.5 * typical < gap < 1.5 * typical]
    guess = float(np.mean(near))
    # Over long distances, each line must fit the same grid.
    best, fit = guess, 0.0
    for pitch in np.linspace(guess * 0.94, guess * 1.06, 121):
        score = _fit(lines, float(pitch))
        if score > fit:
            best, fit = float(pitch), score
    return best if fit > 0.6 else None


def _fit(lines: Sequence[Sequence[Glyph]], pitch: float) -> float:
    """How well all characters fit a grid, from 0 (random) to 1 (exactly)."""
    total = 0.0
    count = 0
    for line in lines:
        if len(line) >= _LEAST:
            angles = np.array([glyph.x for glyph in line]) * (2 * np.pi / pitch)
            total += abs(np.exp(1j * angles).sum())
            count += len(line)
    return total / count if count else 0.0


def offset_of(line: Sequence[Glyph], pitch: float) -> float:
    """The pixel of the middle of the line's first column, so that all others fit best."""
    angles = np.array([glyph.x for glyph in line]) * (2 * np.pi / pitch)
    middle = float(np.angle(np.exp(1j * angles).sum())) / (2 * np.pi) * pitch
    return middle + pitch * round((line[0].x - middle) / pitch)


def restored(line: Sequence[Glyph], pitch: float, ink: Ink, start: float, end: float) -> str:
    """The text of a line in its columns. `ink` is that of the whole row of the picture, in which
    the line goes from `start` to `end`."""
    first = offset_of(line, pitch)
    high = _middle_of(ink)
    out = ""
    last = -1
    for glyph in line:
        cell = max(round((glyph.x - first) / pitch), last + 1)
        here = _part(ink, first + cell * pitch, pitch)
        if not here.any():  # its place was not exact
            if cell - 1 > last and _has_ink(_part(ink, first + (cell - 1) * pitch, pitch)):
                cell -= 1
            elif _has_ink(_part(ink, first + (cell + 1) * pitch, pitch)):
                cell += 1
        if glyph.spaced and cell == last + 1 and out:
            cell += 1
        if out:
            cells = [first + between * pitch for between in range(last + 1, cell)]
            out += _between(out, glyph, [_part(ink, x, pitch) for x in cells], high)
        upright = glyph.text in "1lI!" and _is_bar_inside(_part(ink, first + cell * pitch, pitch))
        out += "|" if upright else glyph.text
        last = cell
    beyond = range(last + 1, round((end - first) / pitch - 0.25) + 1)
    before = range(round((start - first) / pitch + 0.25), 0)
    parts = [_part(ink, first + cell * pitch, pitch) for cell in beyond]
    out += _beside(out[-1], out, parts, high).rstrip()
    parts = [_part(ink, first + cell * pitch, pitch) for cell in reversed(before)]
    return _beside(out[0], out, parts, high)[::-1].lstrip() + out


def _beside(edge: str, line: str, parts: Sequence[Ink], high: int) -> str:
    """What is in the cells beside the first or last character: bars, quotes, or more of a rule."""
    text = ""
    for part in parts:
        if part.any() and edge in _RULES and not text.strip(edge):
            text += edge
        else:
            text += "|" if _is_bar_inside(part) else _quote(part, line, high)
    return text


def _part(ink: Ink, middle: float, pitch: float) -> Ink:
    return ink[:, max(0, int(middle - 0.35 * pitch)) : int(middle + 0.35 * pitch) + 1]


def _between(before: str, after: Glyph, parts: Sequence[Ink], high: int) -> str:
    """What is in the cells between two characters: spaces, bars, quotes, or more of a rule."""
    text = ""
    more = before[-1]
    repeats = more in _RULES
    # Where the recognizer saw a space beside a single `=`, there may be ink at the edge of that.
    single = repeats and after.spaced and not before.endswith(more * 2)
    for part in parts:
        if not part.any() or (single and not _has_ink(part)):
            text += " "
        elif _is_bar_inside(part):
            text += "|"
        elif repeats and not text.strip(more):
            text += more
        elif after.text in _RULES and not after.spaced:
            text += after.text
        else:
            text += _quote(part, before, high)
    return text


def _middle_of(ink: Ink) -> int:
    """The row of pixels above which only quotes end."""
    rows = np.flatnonzero(ink.any(axis=1))
    return round(rows[0] + 0.45 * (rows[-1] - rows[0])) if rows.size else 0


def _quote(cell: Ink, line: str, high: int) -> str:
    """A quote that the recognizer lost, if a cell has ink in its upper part only; else a space."""
    if not _has_ink(cell) or cell[high:].any():
        return " "
    if line.count("`") % 2:
        return "`"
    columns = np.flatnonzero(cell.any(axis=0))
    return '"' if int(np.diff(columns).max(initial=1)) > 1 else "'"


def _has_ink(cell: Ink) -> bool:
    """Whether there is more in a cell than the edge of the character beside it."""
    return cell.size > 0 and float(cell.any(axis=0).mean()) > 0.22


def _is_bar_inside(cell: Ink) -> bool:
    """Whether the ink of a cell is a bar, and not the edge of the character beside it."""
    return not cell[:, :1].any() and not cell[:, -1:].any() and is_bar(cell)


def corrected(text: str) -> str:
    """The text with capital letters that were read as a zero."""
    return _CAPITAL_O.sub("O", text)


def is_bar(part: Ink) -> bool:
    """Whether the ink is one upright line."""
    columns = np.flatnonzero(part.any(axis=0))
    if not columns.size:
        return False
    wide = int(columns[-1] - columns[0]) + 1
    high = float(part.any(axis=1).mean())
    return wide <= max(3, 0.25 * part.shape[0]) and high > 0.55
