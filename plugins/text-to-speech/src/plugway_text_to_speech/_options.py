"""Options of the plugin."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plugway import Options

MOST_CHARACTERS = 10_000
"""What fits into the pipe of an engine at once."""


class TextToSpeechOptions(Options):
    """Options of `text-to-speech`."""

    voices: tuple[str, ...] = ()
    """Voices that requests can choose, the first of which is the default: names of Piper voices as
    `plugway models list` shows them, their `.onnx` files, or `espeak-ng/LANGUAGE`. Without any, all
    that are installed."""
    piper: Path | None = None
    """The program `piper` of piper-tts, if it is installed elsewhere than beside the gateway."""
    max_characters: int = Field(4096, ge=1, le=MOST_CHARACTERS)
    """Longest text of a request."""
    folders: tuple[Path, ...] = ()
    """Folders in which the tool `speech_save` may create audio files; without any, it is not
    offered."""
    limited_callers: bool = True
    """Whether callers with a limited token may use the endpoints."""
    timeout_seconds: float = Field(300.0, gt=0, le=3600)
    """How long one request may take."""
    idle_unload_seconds: float = Field(300.0, ge=0)
    """The worker is ended after that time without a request; 0 for never."""
