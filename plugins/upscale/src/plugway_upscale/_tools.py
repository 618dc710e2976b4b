"""The tool: enlarges a picture in a folder into a new file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio.to_thread
from pydantic import Field

from plugway_media.checks import MAX_PICTURE_BYTES
from plugway_media.engine import Engine
from plugway_media.files import create
from plugway_media.folders import allowed_folders, file_inside
from plugway_tools import ToolCall, ToolResult, ToolSpec, run_with_arguments, schema_of
from plugway_upscale._enlarging import Wish, enlarge
from plugway_upscale._options import ModelName


class Arguments(Wish):
    """Arguments of `upscale_image`."""

    path: str = Field(description="Path of a PNG, JPEG, WebP or GIF file.", max_length=4096)


_TOOL: Final = ToolSpec(
    "upscale_image",
    "Enlarge a picture file 2, 3 or 4 times with Real-ESRGAN. Creates a PNG file beside it.",
    schema_of(Arguments),
    "write",
    outside=False,
    words=("enlarge", "bigger", "resolution", "sharpen", "photo", "png", "jpeg", "image"),
)


class UpscaleTools:
    """Runs the tool."""

    def __init__(
        self, engines: Mapping[ModelName, Engine], model: ModelName, folders: Sequence[Path]
    ) -> None:
        self._engines = engines
        self._model: ModelName = model
        self._folders = tuple(folder.expanduser() for folder in folders)

    def tools(self) -> list[ToolSpec]:
        """The tool, if there are folders for it."""
        return [_TOOL] if self._folders else []

    async def run(self, call: ToolCall) -> ToolResult:
        """Run a call; every failure is a result."""

        async def upscale(wish: Arguments) -> ToolResult:
            folders = allowed_folders(self._folders, call.roots)
            path = await anyio.to_thread.run_sync(file_inside, wish.path, folders)
            target = path.with_name(f"{path.stem}-{wish.scale}x.png")
            data = await anyio.to_thread.run_sync(_read, path, target)
            engine = self._engines[wish.model or self._model]
            found = await enlarge(engine, data, scale=wish.scale, kind="png")
            await anyio.to_thread.run_sync(create, target, found.pieces)
            return ToolResult.of(f"created {target} ({found.width} x {found.height} pixels)")

        return await run_with_arguments(call, self.tools(), Arguments, upscale)


def _read(path: Path, target: Path) -> bytes:
    """The bytes of a file. Raises `OSError`, also if the target exists: nothing is overwritten."""
    if target.exists() or target.is_symlink():
        raise OSError(0, f"{target} exists already; nothing is overwritten")
    with path.open("rb") as file:
        return file.read(MAX_PICTURE_BYTES + 1)
