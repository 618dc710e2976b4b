"""Rows of text in a picture: from the boxes that a detector finds, and the ink around them.

Detectors are trained on words. In screenshots they miss single brackets, quotes and rules of `=`,
and cut lines into pieces. `_cells` restores what a recognizer makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from plugway_ocr._cells import is_bar

Gray = NDArray[np.uint8]
Quad = Any
"""Four corners `(x, y)`, clockwise from the top left."""

_INK: Final = 0.22
"""Least contrast of ink, as a share of the row's largest."""
_LEAST_CONTRAST: Final = 24
_CROWDED: Final = 0.97
"""Share of columns with ink above which a row has no flat background."""
_STEEP: Final = 0.03
"""Slope of a line of text that is not level."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Pixels from top to bottom."""
        return self.bottom - self.top


def box_of(quad: Quad) -> Box:
    """The rectangle around four corners."""
    xs, ys = [float(point[0]) for point in quad], [float(point[1]) for point in quad]
    return Box(min(xs), min(ys), max(xs), max(ys))


def is_level(quad: Quad) -> bool:
    """Whether a line of text is horizontal, as in every screenshot."""
    (x0, y0), (x1, y1) = quad[0], quad[1]
    rise, run = abs(float(y1) - float(y0)), abs(float(x1) - float(x0))
    # Short boxes are never exact.
    return rise <= max(2.0, _STEEP * run, 0.2 * abs(float(quad[3][1]) - float(y0)))


def grouped(boxes: Sequence[Box]) -> list[list[Box]]:
    """Boxes that are side by side, from top to bottom, each row from left to right.

    Wide boxes come first, because small marks, such as quotes, are in the upper or lower part of a
    row.
    """
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: -box.width):
        for row in rows:
            if _beside(box, row[0]):
                row.append(box)
                break
        else:
            rows.append([box])
    rows.sort(key=lambda row: row[0].top + row[0].bottom)
    return [sorted(row, key=lambda box: box.left) for row in rows]


def _beside(box: Box, widest: Box) -> bool:
    shared = min(box.bottom, widest.bottom) - max(box.top, widest.top)
    return shared > 0.5 * min(box.height, widest.height) and box.height < 2.5 * widest.height


def ink_of(gray: Gray, top: float, bottom: float) -> NDArray[np.bool_] | None:
    """Where a row has ink; None if it has no flat background, as in a photo."""
    band = gray[max(0, int(top)) : max(int(top) + 1, int(np.ceil(bottom)))].astype(np.int16)
    background = int(np.median(band))
    contrast = np.abs(band - background)
    largest = int(np.percentile(contrast, 99.5)) if contrast.size else 0
    if largest < _LEAST_CONTRAST:
        return None
    ink = contrast > max(_LEAST_CONTRAST * 0.6, _INK * largest)
    return None if float(ink.any(axis=0).mean()) > _CROWDED else ink


def bands(gray: Gray, rows: Sequence[Sequence[Box]]) -> list[tuple[float, float]]:
    """Top and bottom of each row. Boxes of narrow lines overlap, and would contain the ends of the
    letters above and below: they are divided where there is least ink."""
    found = [_band(gray, row) for row in rows]
    for upper, lower in pairwise(range(len(rows))):
        (top, end), (begin, bottom) = found[upper], found[lower]
        left = int(max(rows[upper][0].left, rows[lower][0].left))
        right = int(min(max(box.right for box in rows[n]) for n in (upper, lower)))
        if 1 < end - begin < 0.5 * min(end - top, bottom - begin) and left < right:
            strip = gray[int(begin) : int(end) + 1, left:right].astype(np.int16)
            ink = np.abs(strip - np.median(gray[int(top) : int(bottom)])).sum(axis=1)
            least = np.flatnonzero(ink == ink.min())
            cut = int(begin) + float(least[len(least) // 2])
            found[upper], found[lower] = (top, cut), (cut, bottom)
    return found


def _band(gray: Gray, row: Sequence[Box]) -> tuple[float, float]:
    tall = [box for box in row if box.height > 0.6 * max(box.height for box in row)]
    top, bottom = (float(np.median([getattr(b, side) for b in tall])) for side in ("top", "bottom"))
    return max(0.0, top), min(float(gray.shape[0]), bottom)


def pieces(gray: Gray, row: Sequence[Box], band: tuple[float, float], wide: float) -> list[Box]:
    """The parts of a row with ink that are at most `wide` apart, as far as a detector found text in
    or beside them."""
    top, bottom = band
    ink = ink_of(gray, top, bottom)
    if ink is None:
        return [Box(box.left, top, box.right, bottom) for box in row]
    found: list[Box] = []
    for start, end in _runs(ink.any(axis=0), wide):
        overlap = sum(max(0.0, min(end, b.right) - max(start, b.left)) for b in row)
        near = min(min(abs(b.left - end), abs(start - b.right)) for b in row)
        high = bottom - top
        is_rule = end - start > 2 * high
        far = 12 if is_bar(ink[:, int(start) : int(end)]) else 3
        if overlap > 0 or near < far * high or is_rule:
            found.append(Box(start, top, end, bottom))
    return found


def _runs(columns: Any, wide: float) -> list[tuple[float, float]]:
    """Start and end of the parts with ink; gaps of up to `wide` belong to them."""
    at = np.flatnonzero(columns)
    if not at.size:
        return []
    cuts = np.flatnonzero(np.diff(at) > wide)
    starts = [int(at[0]), *(int(at[cut + 1]) for cut in cuts)]
    ends = [*(int(at[cut]) for cut in cuts), int(at[-1])]
    return [(float(start), float(end + 1)) for start, end in zip(starts, ends, strict=True)]
