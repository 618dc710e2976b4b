"""The engine, as the gateway and the command start it, and what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plugway_local_models import models_folder
from plugway_media.engine import EngineSpec
from plugway_text_to_speech._kind import PIPER
from plugway_text_to_speech._sources import ESPEAK, INSTALL, piper_command

_BYTES: Final = 350 << 20
"""The worker, and Piper with a voice of medium size while it speaks or waits."""


def engine_spec(
    voices: Sequence[str] = (),
    piper: Path | None = None,
    *,
    seconds: float = 300.0,
    idle_seconds: float = 300.0,
    warm: bool = True,
) -> EngineSpec:
    """How the worker is started; `warm` is whether it prepares for a next request."""
    config = {
        "voices": list(voices),
        "piper": str(piper.expanduser()) if piper else "",
        "folder": str(models_folder()),
        "warm": warm,
    }
    entry = "plugway_text_to_speech._worker:main"
    return EngineSpec("voices", entry, _BYTES, config, seconds=seconds, idle_seconds=idle_seconds)


def problem_of(voices: Sequence[str], piper: Path | None) -> str:
    """What is missing; empty if a voice is there, or is named."""
    if voices or shutil.which(ESPEAK):
        return ""
    return "" if piper_command(str(piper or "")) and PIPER.models() else INSTALL
