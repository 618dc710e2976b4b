"""Writes down speech; see README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugway_speech_to_text._plugin import SpeechToText

__all__ = ["SpeechToText"]


def __getattr__(name: str) -> Any:
    if name != "SpeechToText":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plugway_speech_to_text._plugin import SpeechToText  # a worker does not need it

    return SpeechToText
