"""Speaks texts; see README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugway_text_to_speech._plugin import TextToSpeech

__all__ = ["TextToSpeech"]


def __getattr__(name: str) -> Any:
    if name != "TextToSpeech":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plugway_text_to_speech._plugin import TextToSpeech  # a worker does not need it

    return TextToSpeech
