"""The engines, as the gateway and the command start them, and what is missing for one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from plugway_media.engine import EngineSpec
from plugway_ocr._options import EngineName
from plugway_ocr._worker import INSTALL_TESSERACT, missing

_MIB: Final = 1 << 20
_SIZES: Final = {"rapidocr": 600 * _MIB, "tesseract": 150 * _MIB, "vision": 200 * _MIB}
"""Resident memory of a worker that has read a screenshot."""
_MODULES: Final = {
    "rapidocr": ("rapidocr", "onnxruntime", "PIL"),
    "tesseract": ("PIL",),
    "vision": ("ocrmac", "PIL"),
}


def engine_spec(
    engine: EngineName,
    languages: Sequence[str] = (),
    *,
    seconds: float = 60.0,
    idle_seconds: float = 300.0,
) -> EngineSpec:
    """How the worker of an engine is started."""
    config = {"engine": engine, "languages": list(languages), "seconds": seconds}
    return EngineSpec(
        engine,
        "plugway_ocr._worker:main",
        _SIZES[engine],
        config,
        seconds=seconds,
        idle_seconds=idle_seconds,
    )


def problem_of(engine: EngineName) -> str:
    """What is missing for an engine; empty if nothing is."""
    if engine == "vision" and sys.platform != "darwin":
        return "`vision` is part of macOS: use `rapidocr` or `tesseract`"
    for module in _MODULES[engine]:
        if find_spec(module) is None:
            return missing(engine, module)
    if engine == "tesseract" and shutil.which("tesseract") is None:
        return INSTALL_TESSERACT
    return ""
