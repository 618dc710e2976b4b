"""The plugin: OpenAI's endpoints for transcriptions and translations, and a tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from plugway import Gateway, Plugin, hookimpl
from plugway_endpoints import Trial
from plugway_media.checks import MAX_AUDIO_BYTES, check_audio
from plugway_media.engine import Engine, HoldsEngines
from plugway_media.routes import EngineRoute
from plugway_media.streams import Streamed, Write, event_stream
from plugway_media.uploads import decode_base64, read_form
from plugway_speech_to_text._ask import Ask, Task, read_ask
from plugway_speech_to_text._engines import engine_spec, offered, problem_of
from plugway_speech_to_text._listener import Listener
from plugway_speech_to_text._options import SpeechToTextOptions
from plugway_speech_to_text._texts import MEDIA_TYPES, body, delta_event, done_event
from plugway_speech_to_text._tools import SpeechTools
from plugway_tools import ToolCall, ToolResult, ToolSpec
from plugway_wire.errors import InvalidRequest

TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
Flaw = tuple[tuple[str | int, ...], str]


class SpeechToText(HoldsEngines, Plugin[SpeechToTextOptions]):
    """Writes down speech, for clients and as a tool."""

    def __init__(self, options: SpeechToTextOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._models = offered(options.models)
        self.engines = [Engine(self.name, self._spec(model)) for model in self._models]
        self.listener = Listener(self.engines)
        self._tools = SpeechTools(self.listener, options.folders)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Warn of what is missing for a model: it may be installed while the gateway runs."""
        for model in self._models:
            if problem := problem_of(model):
                self.log.warning("`%s` cannot be used: %s", model, problem)
        if not self.options.models and self._models == ["pocketsphinx"]:
            self.log.warning(
                "no Whisper model is installed; `pocketsphinx` hears English words only, with many "
                "mistakes: run `plugway models pull Systran/faster-whisper-base`, and restart"
            )
        return ()

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """A worker starts with its first request, and ends with the gateway at the latest."""
        return self.running(gateway)

    @hookimpl
    def register_routes(self) -> list[BaseRoute]:
        """`POST /v1/audio/transcriptions` and `/v1/audio/translations`."""
        return [
            self._route(TRANSCRIPTIONS, "transcribe"),
            self._route("/v1/audio/translations", "translate"),
        ]

    def trials(self) -> Sequence[Trial]:
        """Transcriptions, for a page (`OffersTrials`)."""
        limited, problem = self.options.limited_callers, problem_of(self._models[0])
        names = {"model": [engine.spec.model for engine in self.engines]}
        return [Trial("hear", TRANSCRIPTIONS, limited, MAX_AUDIO_BYTES, problem, names)]

    def _route(self, path: str, task: Task) -> EngineRoute:
        serve = partial(self._serve, task=task)
        return EngineRoute(path, serve, limited_callers=self.options.limited_callers, forms=True)

    async def _serve(self, request: Request, task: Task) -> Response:
        form = await read_form(request, max_bytes=MAX_AUDIO_BYTES)
        ask = read_ask(form.fields, task)
        self.listener.engine(ask.model)
        data = form.files.get("file")
        if data is None:
            text = form.fields.get("file")
            if text is None:
                raise InvalidRequest(
                    "file: an audio file in a form, or base64 is required", retry=False, record=True
                )
            data = await decode_base64(text, "file", max_bytes=MAX_AUDIO_BYTES)
        check_audio(data)
        if ask.stream:
            return event_stream(partial(self._streamed, data, ask))
        return Streamed(partial(self._whole, data, ask), MEDIA_TYPES[ask.format])

    async def _whole(self, data: bytes, ask: Ask, write: Write) -> None:
        await write(body(await self.listener.hear(data, ask), ask))

    async def _streamed(self, data: bytes, ask: Ask, write: Write) -> None:
        first = True

        async def send_delta(segment: Mapping[str, Any]) -> None:
            nonlocal first
            await write(delta_event(segment["text"].lstrip() if first else segment["text"]))
            first = False

        heard = await self.listener.hear(data, ask, send_delta)
        await write(done_event(heard.text))

    def _spec(self, model: str) -> Any:
        options = self.options
        return engine_spec(
            model,
            device=options.device,
            threads=options.threads,
            max_seconds=options.max_seconds,
            seconds=options.timeout_seconds,
            idle_seconds=options.idle_unload_seconds,
        )

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools that are on (`HoldsTools`)."""
        return self._tools.tools()

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run a call (`HoldsTools`)."""
        return await self._tools.run(call)
