"""RapidOCR: PP-OCR models, run by ONNX Runtime. Only the worker imports it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

import numpy as np

from plugway_ocr._cells import Glyph, corrected, is_bar, pitch_of, restored
from plugway_ocr._layout import Piece, Reading
from plugway_ocr._rows import Box, bands, box_of, grouped, ink_of, is_level, pieces

_MOST_PIECES: Final = 500
_LEAST_SCORE: Final = 0.5
_DARK: Final = 110
"""Median brightness below which a picture is inverted: recognizers know dark text best."""
_SURE: Final = 0.8
"""Score below which text is probably not upright: that of screenshots is about 0.98."""
_SAMPLE: Final = 6
"""Lines by which it is found out how a picture is turned."""
_MARGIN: Final = 0.3
"""Space around a piece, in heights: recognizers lose a quote at the very edge."""
_GAP: Final = 2.0
"""Space between two pieces of a row, in heights."""


class RapidOcr:
    """Reads pictures with the models that the package includes."""

    name = "rapidocr"

    def __init__(self) -> None:
        """Raises `ImportError` if it is not installed."""
        threads = min(4, os.cpu_count() or 1)
        self._engine: Any = import_module("rapidocr").RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "Global.return_word_box": True,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            }
        )
        self._read_blank()

    def _read_blank(self) -> None:
        """The models are loaded on first use: do it now."""
        blank = np.full((64, 256, 3), 255, np.uint8)
        self._engine(blank, use_det=True, use_rec=False, use_cls=False)
        self._engine.recognize_txt([blank])

    def read(self, picture: Any) -> Reading:
        """The text of a `PIL.Image.Image` in RGB, which may lie on its side or head."""
        colours, gray = _dark_on_light(picture)
        found = self._boxes(colours)
        reading = self._read(colours, gray, found)
        if (_mean_score(reading) > _SURE and not _is_on_side(found)) or not found:
            return reading
        turn = self._turn(colours, found)
        if not turn:
            return reading
        colours, gray = _dark_on_light(picture.rotate(turn, expand=True))
        return replace(self._read(colours, gray, self._boxes(colours)), turn=turn)

    def _boxes(self, colours: Any) -> list[Any]:
        """Where lines of text are: four corners of each."""
        found: Any = self._engine(colours, use_det=True, use_rec=False, use_cls=False)
        return [] if found.boxes is None else list(found.boxes)

    def _turn(self, colours: Any, found: Sequence[Any]) -> int:
        """Degrees, counter-clockwise, after which its largest lines can be read; 0 for none."""
        boxes = sorted(map(box_of, found), key=lambda box: box.height * box.width)[-_SAMPLE:]
        crops = [
            colours[
                max(0, int(b.top) - 4) : int(b.bottom) + 4,
                max(0, int(b.left) - 4) : int(b.right) + 4,
            ]
            for b in boxes
        ]
        scores: dict[int, float] = {}
        for quarters in range(4):
            read: Any = self._engine.recognize_txt([np.rot90(c, quarters).copy() for c in crops])
            scores[90 * quarters] = float(np.mean(read.scores))
        turn = max(scores, key=lambda turn: scores[turn])
        return turn if scores[turn] > _SURE else 0

    def _read(self, colours: Any, gray: Any, found: Sequence[Any]) -> Reading:
        level = [box_of(quad) for quad in found if is_level(quad)]
        rows: list[list[tuple[Box, Any]]] = []
        lines = grouped(level)
        for row, band in zip(lines, bands(gray, lines), strict=True):
            wide = _GAP * float(np.median([box.height for box in row]))
            rows.append([(box, _cut(colours, box)) for box in pieces(gray, row, band, wide)])
        steep = [quad for quad in found if not is_level(quad)]
        crops: list[Any] = self._engine.crop_text_regions(colours, steep) if steep else []
        rows += [[(box_of(quad), crop)] for quad, crop in zip(steep, crops, strict=True)]
        rows = [row for row in rows if row]
        rows.sort(key=lambda row: row[0][0].top + row[0][0].bottom)
        return self._recognized(rows, gray)

    def _recognized(self, rows: Sequence[Sequence[tuple[Box, Any]]], gray: Any) -> Reading:
        every = [item for row in rows for item in row]
        chosen = every[:_MOST_PIECES]
        if not chosen:
            return Reading(())
        read: Any = self._engine.recognize_txt([crop for _, crop in chosen])
        glyphs = [
            _glyphs(text, info, box)
            for text, info, (box, _) in zip(read.txts, read.word_results, chosen, strict=True)
        ]
        pitch = pitch_of(glyphs)
        texts = [
            _text(box, line, score, gray, pitch)
            for (box, _), line, score in zip(chosen, glyphs, read.scores, strict=True)
        ]
        at, found = 0, list[list[Piece]]()
        for row in rows:
            part = zip(
                row, texts[at : at + len(row)], read.scores[at : at + len(row)], strict=False
            )
            at += len(row)
            found.append(
                [
                    Piece(text, box.left, box.top, box.right, box.bottom, round(float(score), 3))
                    for (box, _), text, score in part
                    if text
                ]
            )
        return Reading([row for row in found if row], pitch, len(every) - len(chosen))


def _dark_on_light(picture: Any) -> tuple[Any, Any]:
    """The colours, as the models expect them, and the brightness."""
    colours = np.asarray(picture)[:, :, ::-1].copy()
    gray = np.asarray(picture.convert("L"))
    return (255 - colours, 255 - gray) if np.median(gray) < _DARK else (colours, gray)


def _is_on_side(found: Sequence[Any]) -> bool:
    """Whether most lines are vertical."""
    tall = sum(box.height > 2 * box.width for box in map(box_of, found))
    return 2 * tall > len(found)


def _mean_score(reading: Reading) -> float:
    """How sure the recognizer is of a character on average."""
    total = sum(len(piece.text) for row in reading.rows for piece in row)
    sure = sum(len(piece.text) * piece.score for row in reading.rows for piece in row)
    return sure / total if total else 0.0


def _cut(colours: Any, box: Box) -> Any:
    height, width = colours.shape[:2]
    margin = _MARGIN * box.height
    left, right = max(0, int(box.left - margin)), min(width, int(box.right + margin) + 1)
    return colours[max(0, int(box.top)) : min(height, int(box.bottom) + 1), left:right]


def _glyphs(text: str, info: Any, box: Box) -> list[Glyph]:
    """The characters of a piece with their places, which the recognizer knows as steps."""
    steps = [step for word in info.word_cols for step in word]
    margin = _MARGIN * box.height
    start, wide = max(0.0, box.left - margin), box.width + 2 * margin
    glyphs: list[Glyph] = []
    spaced = False
    for character in _narrow(text):
        if character.isspace():
            spaced = True
            continue
        x = start + (steps[len(glyphs)] + 0.5) / info.line_txt_len * wide
        glyphs.append(Glyph(character, x, spaced))
        spaced = False
    return glyphs


def _narrow(text: str) -> str:
    """The text with ASCII signs instead of their wide forms, unless it is Chinese or Japanese."""
    if any("\u3040" <= character <= "\u9fff" for character in text):
        return text
    return "".join(chr(ord(c) - 0xFEE0) if "\uff01" <= c <= "\uff5e" else c for c in text)


def _text(box: Box, line: Sequence[Glyph], score: float, gray: Any, pitch: float | None) -> str:
    ink = ink_of(gray, box.top, box.bottom)
    if ink is not None and is_bar(ink[:, int(box.left) : int(box.right)]):
        return "|"
    if not line or score < _LEAST_SCORE:
        return ""
    if pitch is not None and ink is not None:
        return corrected(restored(line, pitch, ink, box.left, box.right))
    words = (f" {glyph.text}" if glyph.spaced else glyph.text for glyph in line)
    return corrected("".join(words).strip())
