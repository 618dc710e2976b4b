"""Options of the plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from plugway import Options

ModelName = Literal["fast", "drawing", "photo"]
Device = Literal["auto", "cpu", "vulkan"]
OutputFormat = Literal["png", "jpeg", "webp"]

MAX_OUTPUT_PIXELS: Final = 80_000_000
"""The largest picture that is accepted, at scale 2."""


class UpscaleOptions(Options):
    """Options of `upscale`."""

    model: ModelName = "fast"
    """The model of requests that name none: `fast`, `drawing` or `photo`."""
    device: Device = "auto"
    """Where the models run: `cpu`, `vulkan` (a graphics card), or `auto`: a card if any."""
    max_output_pixels: int = Field(MAX_OUTPUT_PIXELS, ge=10_000, le=MAX_OUTPUT_PIXELS)
    """Most pixels of an enlarged picture."""
    limited_callers: bool = False
    """Whether callers with a limited token may use it: a picture can keep all processors busy for
    minutes."""
    folders: tuple[Path, ...] = ()
    """Folders in which the tool `upscale_image` may read and create pictures; without any, it is
    not offered."""
    timeout_seconds: float = Field(600.0, gt=0, le=7200)
    """How long enlarging one picture may take."""
    idle_unload_seconds: float = Field(300.0, ge=0)
    """A worker is ended after that time without a picture; 0 for never."""
