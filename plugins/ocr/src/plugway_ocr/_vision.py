"""Apple's Vision, by `ocrmac`. Only the worker on macOS imports it.

Written against ocrmac's interface (`ocrmac/ocrmac.py` of version 1.0.1); not run by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from plugway_ocr._layout import Piece, Reading
from plugway_ocr._rows import Box, grouped


class Vision:
    """Reads pictures with the system's own recognizer."""

    name = "vision"

    def __init__(self, languages: Sequence[str]) -> None:
        """Raises `ImportError` if it is not installed."""
        self._recognizer: Any = import_module("ocrmac.ocrmac").OCR
        self._languages = list(languages) or None

    def read(self, picture: Any) -> Reading:
        """The text of a `PIL.Image.Image` in RGB."""
        found = self._recognizer(picture, language_preference=self._languages).recognize()
        pieces: dict[Box, Piece] = {}
        for text, score, (x, y, width, height) in found:
            # Shares of the picture, from the lower left corner.
            left, right = x * picture.width, (x + width) * picture.width
            top, bottom = (1 - y - height) * picture.height, (1 - y) * picture.height
            piece = Piece(str(text), left, top, right, bottom, round(float(score), 3))
            pieces[Box(left, top, right, bottom)] = piece
        return Reading([[pieces[box] for box in row] for row in grouped([*pieces])])
