"""Options of the plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from plugway import Options

Device = Literal["auto", "cpu", "cuda"]


class SpeechToTextOptions(Options):
    """Options of `speech-to-text`."""

    models: tuple[str, ...] = ()
    """Models that requests can choose, the first of which is the default: names as `plugway models
    list` shows them, folders with a Whisper model for CTranslate2, or `pocketsphinx`. Without any,
    the Whisper models that are installed when the gateway starts, or else `pocketsphinx`."""
    device: Device = "auto"
    """Where Whisper runs; `auto` uses an NVIDIA GPU if there is one."""
    threads: int = Field(0, ge=0, le=256)
    """Threads of Whisper on the CPU; 0 for one per core, at most four."""
    max_seconds: float = Field(7200.0, gt=0, le=86_400)
    """Longest audio that is accepted."""
    folders: tuple[Path, ...] = ()
    """Folders whose audio files the tool `speech_transcribe` may read; without any, it is not
    offered."""
    limited_callers: bool = True
    """Whether callers with a limited token may use the endpoints."""
    timeout_seconds: float = Field(900.0, gt=0, le=86_400)
    """How long one request may take."""
    idle_unload_seconds: float = Field(300.0, ge=0)
    """A worker is ended after that time without a request; 0 for never."""
