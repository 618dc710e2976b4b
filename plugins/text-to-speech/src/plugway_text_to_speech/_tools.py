"""The tool `speech_save`: a text as an audio file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, get_args

import anyio.to_thread
from pydantic import BaseModel, Field

from plugway_media.engine import Engine
from plugway_media.files import create
from plugway_media.folders import allowed_folders, path_inside
from plugway_text_to_speech._ask import Format, read_ask
from plugway_tools import ToolCall, ToolResult, ToolSpec, run_with_arguments, schema_of

_SUFFIXES: Final = {f".{name}": name for name in get_args(Format) if name != "pcm"}


class SaveArguments(BaseModel, extra="forbid"):
    """Arguments of `speech_save`."""

    path: str = Field(
        description="New file; its ending is the format: .wav, .mp3, .opus, .aac or .flac.",
        max_length=4096,
    )
    text: str = Field(description="What is said.", max_length=10_000)
    voice: str = Field("", description="Name of a voice; the default is fine.", max_length=200)


_SAVE: Final = ToolSpec(
    "speech_save",
    "Speak a text into a new audio file.",
    schema_of(SaveArguments),
    "write",
    outside=False,
    words=("voice", "read aloud", "tts", "audio", "narrate", "wav", "mp3"),
)


class SpeechTools:
    """Runs the tool."""

    def __init__(self, engine: Engine, folders: Sequence[Path], most: int) -> None:
        self._engine = engine
        self._folders = tuple(folder.expanduser() for folder in folders)
        self._most = most

    def tools(self) -> list[ToolSpec]:
        """The tool, if there are folders."""
        return [_SAVE] if self._folders else []

    async def run(self, call: ToolCall) -> ToolResult:
        """Run a call; every failure is a result."""

        async def save(arguments: SaveArguments) -> ToolResult:
            path = path_inside(arguments.path, allowed_folders(self._folders, call.roots))
            shape = _SUFFIXES.get(path.suffix.lower())
            if shape is None:
                raise OSError(0, f"the name must end with one of {', '.join(_SUFFIXES)}")
            fields = {"input": arguments.text, "voice": arguments.voice, "response_format": shape}
            ask = read_ask(fields, self._most)
            async with self._engine.call(ask.header(), ask.text.encode()) as pieces:
                sound = b"".join([bytes(piece.body) async for piece in pieces])
            await anyio.to_thread.run_sync(create, path, [sound])
            return ToolResult.of(f"Wrote {len(sound):,} bytes to {path}")

        return await run_with_arguments(call, self.tools(), SaveArguments, save)
