"""The plugin: OpenAI's endpoint for speech, the list of voices, and a tool."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from plugway import Gateway, Plugin, hookimpl
from plugway_endpoints import Trial
from plugway_media.engine import Engine, HoldsEngines
from plugway_media.routes import EngineRoute
from plugway_media.streams import Streamed, Write, event, event_stream
from plugway_media.uploads import read_form
from plugway_text_to_speech._ask import MEDIA_TYPES, Ask, read_ask
from plugway_text_to_speech._engines import engine_spec, problem_of
from plugway_text_to_speech._options import TextToSpeechOptions
from plugway_text_to_speech._tools import SpeechTools
from plugway_tools import ToolCall, ToolResult, ToolSpec

SPEECH: Final = "/v1/audio/speech"
VOICES: Final = "/v1/audio/voices"
Flaw = tuple[tuple[str | int, ...], str]


class TextToSpeech(HoldsEngines, Plugin[TextToSpeechOptions]):
    """Speaks texts, for clients and as a tool."""

    def __init__(self, options: TextToSpeechOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        spec = engine_spec(
            options.voices,
            options.piper,
            seconds=options.timeout_seconds,
            idle_seconds=options.idle_unload_seconds,
        )
        self._speaker = Engine(self.name, spec)
        self.engines = [self._speaker]
        self._tools = SpeechTools(self._speaker, options.folders, options.max_characters)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Warn if there is no voice: one may be installed while the gateway runs."""
        if problem := problem_of(self.options.voices, self.options.piper):
            self.log.warning("texts cannot be spoken: %s", problem)
        return ()

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """The worker starts with the first request, and ends with the gateway at the latest."""
        return self.running(gateway)

    @hookimpl
    def register_routes(self) -> list[BaseRoute]:
        """`POST /v1/audio/speech` and `GET /v1/audio/voices`."""
        limited = self.options.limited_callers
        return [
            EngineRoute(SPEECH, self._speak, limited_callers=limited),
            EngineRoute(VOICES, self._list, limited_callers=limited, methods=["GET"]),
        ]

    def trials(self) -> Sequence[Trial]:
        """The endpoint, for a page (`OffersTrials`)."""
        options = self.options
        limited, problem = options.limited_callers, problem_of(options.voices, options.piper)
        return [Trial("speak", SPEECH, limited, options.max_characters, problem, voices=VOICES)]

    async def _list(self, request: Request) -> JSONResponse:
        found = await self._speaker.one({"list": True})
        return JSONResponse({"voices": found.header["voices"]})

    async def _speak(self, request: Request) -> Response:
        form = await read_form(request, max_bytes=0)
        ask = read_ask(form.fields, self.options.max_characters)
        work = partial(self._spoken, ask)
        return event_stream(work) if ask.events else Streamed(work, MEDIA_TYPES[ask.format])

    async def _spoken(self, ask: Ask, write: Write) -> None:
        async with self._speaker.call(ask.header(), ask.text.encode()) as pieces:
            async for piece in pieces:
                sound = bytes(piece.body)
                if sound and not ask.events:
                    await write(sound)
                elif sound:
                    data = base64.b64encode(sound).decode()
                    await write(event({"type": "speech.audio.delta", "audio": data}))
        if ask.events:
            await write(event({"type": "speech.audio.done"}))

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools that are on (`HoldsTools`)."""
        return self._tools.tools()

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run a call (`HoldsTools`)."""
        return await self._tools.run(call)
