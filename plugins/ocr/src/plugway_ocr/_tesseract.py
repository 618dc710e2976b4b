"""Tesseract: the program of the system, started for each picture. Only the worker imports it."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from plugway_media.worker import Refused
from plugway_ocr._layout import Piece, Reading
from plugway_ocr._rows import Box, grouped

_SECONDS: Final = 120
_SMALL: Final = 2000
"""Longest side below which a picture is enlarged: Tesseract needs letters of 20 pixels."""
_DARK: Final = 110


class Tesseract:
    """Reads pictures with the program `tesseract`."""

    name = "tesseract"

    def __init__(self, languages: Sequence[str]) -> None:
        """Raises `FileNotFoundError` if it is not installed."""
        program = shutil.which("tesseract")
        if program is None:
            raise FileNotFoundError("tesseract")
        self._command = [program, "-", "-", "-l", "+".join(languages) or "eng", "--psm", "3", "tsv"]

    def read(self, picture: Any) -> Reading:
        """The text of a `PIL.Image.Image` in RGB."""
        gray = picture.convert("L")
        if _median(gray.histogram()) < _DARK:
            gray = gray.point([255 - value for value in range(256)])
        scale = 2 if max(gray.size) < _SMALL else 1
        if scale > 1:
            gray = gray.resize((gray.width * scale, gray.height * scale))
        data = io.BytesIO()
        gray.save(data, "PNG", compress_level=1)
        done = subprocess.run(
            self._command, input=data.getvalue(), capture_output=True, timeout=_SECONDS, check=False
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise Refused(f"Tesseract failed: {lines[-1][:200] if lines else done.returncode}")
        return Reading(_rows(done.stdout.decode("utf-8", "replace"), scale))


def _rows(table: str, scale: int) -> list[list[Piece]]:
    """The words of Tesseract's table (`tesseract.1`, "tsv"), joined to lines."""
    lines: dict[tuple[str, ...], list[Piece]] = {}
    for text in table.splitlines()[1:]:
        cells = text.split("\t")
        if len(cells) < 12 or cells[0] != "5" or not cells[11].strip():
            continue
        left, top, width, height = (int(cell) / scale for cell in cells[6:10])
        score = max(0.0, float(cells[10])) / 100
        word = Piece(cells[11].strip(), left, top, left + width, top + height, score)
        lines.setdefault(tuple(cells[2:5]), []).append(word)
    joined = [_joined(words) for words in lines.values()]
    by_box = {(p.left, p.top, p.right, p.bottom): p for p in joined}
    boxes = [Box(*box) for box in by_box]
    return [
        [by_box[box.left, box.top, box.right, box.bottom] for box in row] for row in grouped(boxes)
    ]


def _joined(words: Sequence[Piece]) -> Piece:
    return Piece(
        " ".join(word.text for word in words),
        min(word.left for word in words),
        min(word.top for word in words),
        max(word.right for word in words),
        max(word.bottom for word in words),
        round(sum(word.score for word in words) / len(words), 3),
    )


def _median(histogram: Sequence[int]) -> int:
    half, seen = sum(histogram) / 2, 0
    for value, count in enumerate(histogram):
        seen += count
        if seen >= half:
            return value
    return 0
