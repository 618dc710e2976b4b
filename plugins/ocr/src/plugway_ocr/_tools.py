"""The tools: a picture in a file, and the screen."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from pydantic import BaseModel, Field

from plugway import Gateway, as_object
from plugway_media.checks import MAX_PICTURE_BYTES
from plugway_media.folders import allowed_folders, read_inside
from plugway_ocr._eyes import words
from plugway_ocr._reader import Reader
from plugway_tools import (
    HoldsTools,
    ToolCall,
    ToolResult,
    ToolSpec,
    run_with_arguments,
    schema_of,
)

_SCREENSHOT: Final = "system_screenshot"
"""A tool that takes a picture of the screen, of whichever plugin has it."""


class ImageArguments(BaseModel, extra="forbid"):
    """Arguments of `ocr_image`."""

    path: str = Field(description="Path of a PNG, JPEG, WebP, GIF or PDF file.", max_length=4096)


class NoArguments(BaseModel, extra="forbid"):
    """A tool without arguments."""


_IMAGE: Final = ToolSpec(
    "ocr_image",
    "Read the text in a picture or PDF file, with its layout.",
    schema_of(ImageArguments),
    "read",
    outside=True,
    words=("ocr", "screenshot", "scan", "photo", "pdf", "png", "jpeg", "text", "image"),
)
_SCREEN: Final = ToolSpec(
    "ocr_screen",
    "Read the text on the screen of the user.",
    schema_of(NoArguments),
    "read",
    outside=True,
    words=("ocr", "screenshot", "display", "window", "desktop", "see"),
)


class OcrTools:
    """Runs the tools."""

    def __init__(self, reader: Reader, folders: Sequence[Path]) -> None:
        self.gateway: Gateway | None = None
        """Where the tool that takes pictures of the screen is found."""
        self._reader = reader
        self._folders = tuple(folder.expanduser() for folder in folders)

    async def tools(self) -> list[ToolSpec]:
        """The tools that can be used: with folders, and with a tool for the screen."""
        found = [_IMAGE] if self._folders else []
        if await self._camera() is not None:
            found.append(_SCREEN)
        return found

    async def run(self, call: ToolCall) -> ToolResult:
        """Run a call; every failure is a result."""

        async def read(arguments: ImageArguments | NoArguments) -> ToolResult:
            if isinstance(arguments, ImageArguments):
                folders = allowed_folders(self._folders, call.roots)
                data = await anyio.to_thread.run_sync(
                    read_inside, arguments.path, folders, MAX_PICTURE_BYTES
                )
            else:
                data = await self._screen(call)
            return ToolResult.of(words(await self._reader.read(data, call.exchange.caller)))

        kind = ImageArguments if call.name == _IMAGE.name else NoArguments
        return await run_with_arguments(call, await self.tools(), kind, read)

    async def _camera(self) -> HoldsTools | None:
        """The plugin whose tool takes a picture of the screen, if it is switched on."""
        for _, holder in self.gateway.find(HoldsTools) if self.gateway else ():
            if getattr(holder, "reads_pictures", False):
                continue  # this plugin, or another instance of it
            if any(spec.name == _SCREENSHOT for spec in await holder.tools()):
                return holder
        return None

    async def _screen(self, call: ToolCall) -> bytes:
        camera = await self._camera()
        if camera is None:
            raise OSError(0, f"the tool `{_SCREENSHOT}` is not switched on")
        taken = await camera.run_tool(replace(call, name=_SCREENSHOT, arguments={}))
        for block in taken.content:
            source: Mapping[str, Any] = as_object(block.get("source"))
            if block.get("type") == "image" and isinstance(source.get("data"), str):
                return base64.b64decode(source["data"])
        raise OSError(0, taken.text or f"`{_SCREENSHOT}` returned no picture")
