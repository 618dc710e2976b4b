"""Reads text in pictures; see README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugway_ocr._plugin import Ocr

__all__ = ["Ocr"]


def __getattr__(name: str) -> Any:
    if name != "Ocr":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plugway_ocr._plugin import Ocr  # a worker does not need it

    return Ocr
