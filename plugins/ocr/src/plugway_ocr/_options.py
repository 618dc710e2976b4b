"""Options of the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from plugway import Options

EngineName = Literal["rapidocr", "tesseract", "vision"]
Eyes = Literal["auto", "always", "never"]


class OcrOptions(Options):
    """Options of `ocr`."""

    engine: EngineName = "rapidocr"
    """What reads pictures: `rapidocr` (models are included), `tesseract` (the program of the
    system), or `vision` (macOS)."""
    languages: tuple[str, ...] = ()
    """Languages of the texts, as the engine names them: `eng`, `deu` for `tesseract` (default
    `eng`), `en-US`, `de-DE` for `vision`. `rapidocr` needs none."""
    eyes: Mapping[str, Eyes] = Field(default_factory=lambda: {"*": "auto"})
    """For which models pictures and PDF files in requests become text, by patterns of
    `INSTANCE/MODEL`; the first that matches decides. `auto`: for models that accept no images,
    according to their backend."""
    images: Literal["all", "messages", "results"] = "all"
    """Which pictures become text: those in messages, those in results of tools, or all."""
    limited_callers: bool = True
    """Whether callers with a limited token may have pictures read."""
    max_images: int = Field(20, ge=1, le=100)
    """How many pictures of one request are read, from the last one on; earlier ones stay."""
    folders: tuple[Path, ...] = ()
    """Folders whose pictures the tool `ocr_image` may read; without any, it is not offered."""
    timeout_seconds: float = Field(60.0, gt=0, le=600)
    """How long reading one picture may take."""
    idle_unload_seconds: float = Field(300.0, ge=0)
    """The worker is ended after that time without a picture; 0 for never."""
