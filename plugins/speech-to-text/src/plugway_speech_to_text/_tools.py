"""The tool `speech_transcribe`: what is said in an audio file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio.to_thread
from pydantic import BaseModel, Field

from plugway_media.checks import MAX_AUDIO_BYTES
from plugway_media.folders import allowed_folders, read_inside
from plugway_speech_to_text._ask import Ask
from plugway_speech_to_text._listener import Listener
from plugway_speech_to_text._texts import body
from plugway_tools import ToolCall, ToolResult, ToolSpec, run_with_arguments, schema_of


class TranscribeArguments(BaseModel, extra="forbid"):
    """Arguments of `speech_transcribe`."""

    path: str = Field(
        description="Path of a wav, mp3, m4a, ogg, flac or webm file.", max_length=4096
    )
    language: str = Field(
        "",
        description="Code of the language, such as `en`, if it is known.",
        pattern="^[a-z]{0,3}$",
    )
    times: bool = Field(False, description="Whether to return subtitles with times (SRT).")


_TRANSCRIBE: Final = ToolSpec(
    "speech_transcribe",
    "Write down what is said in an audio file.",
    schema_of(TranscribeArguments),
    "read",
    outside=True,
    words=("audio", "voice", "recording", "dictation", "transcript", "subtitles", "mp3", "wav"),
)


class SpeechTools:
    """Runs the tool."""

    def __init__(self, listener: Listener, folders: Sequence[Path]) -> None:
        self._listener = listener
        self._folders = tuple(folder.expanduser() for folder in folders)

    def tools(self) -> list[ToolSpec]:
        """The tool, if there are folders."""
        return [_TRANSCRIBE] if self._folders else []

    async def run(self, call: ToolCall) -> ToolResult:
        """Run a call; every failure is a result."""

        async def transcribe(arguments: TranscribeArguments) -> ToolResult:
            folders = allowed_folders(self._folders, call.roots)
            ask = Ask(format="srt" if arguments.times else "text", language=arguments.language)
            data = await anyio.to_thread.run_sync(
                read_inside, arguments.path, folders, MAX_AUDIO_BYTES
            )
            heard = await self._listener.hear(data, ask)
            if not heard.segments:
                return ToolResult.of("(no speech was heard)")
            return ToolResult.of(body(heard, ask).decode())

        return await run_with_arguments(call, self.tools(), TranscribeArguments, transcribe)
