"""The backend: hands requests to the worker and makes its words into events.

Rendering, counting and decoding happen in the worker; which worker, `_models` knows.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from plugway import (
    Attempt,
    BackendUnavailable,
    Emitter,
    InvalidRequest,
    MessagesRequest,
    ModelInfo,
    Reply,
    RequestRejected,
    StreamEvent,
    StreamInterrupted,
    wrong_choice,
)
from plugway_llama_cpp._client_names import ClientNames
from plugway_llama_cpp._folder import DEMO, DEMO_NOTICE
from plugway_llama_cpp._held import Held
from plugway_llama_cpp._models import Loaded, Models
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_local_engine import Call
from plugway_signature import signature

Note = Callable[[str], None]

_log = logging.getLogger("plugway.llama-cpp")

_STATES: Final = {"ready": "loaded", "loading": "loading", "restarting": "loading"}


class LlamaCppBackend:
    """One instance: a configured model, and others of the models folder on demand."""

    zone = "local"

    def __init__(self, name: str, options: LlamaCppOptions) -> None:
        self.name = name
        self._options = options
        self.loader = Models(name, options)
        self.hold_demo = True
        """Hold the demonstration's calls to three shapes; tests of the engine may switch it off."""

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference. The reply begins when the prompt is accepted, not when it is computed.

        Raises:
            InvalidRequest: `tool_choice` means nothing.
            BackendError: the model cannot be had, or its worker failed.
        """
        if request.get("tool_choice") is not None and (wrong := wrong_choice(request.body)):
            raise InvalidRequest(wrong, retry=False, record=True)
        loaded = await self.loader.get(attempt.model)
        exchange = attempt.exchange
        header = {
            "op": "generate",
            "caller": exchange.caller.share,
            "session": exchange.session_id,
            "agent": exchange.agent_id,
        }
        names = ClientNames(request) if loaded.is_demo else None
        asked = names.request if names else request
        call = await loaded.supervisor.call(header, asked.raw)
        held = Held(asked.body) if self.hold_demo and loaded.is_demo else None
        note = partial(exchange.note, self.name, stage="engine")
        stream = Generation(call, loaded, request.model, note, held, names)
        try:
            await stream.begin()
        except BaseException:
            await stream.aclose()
            raise
        return Reply.streamed(stream)

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int:
        """Tokens of the rendered prompt, exactly."""
        loaded = await self.loader.get(attempt.model)
        header = {"op": "count", "caller": attempt.exchange.caller.share}
        asked = ClientNames(request).request if loaded.is_demo else request
        call = await loaded.supervisor.call(header, asked.raw)
        try:
            async for frame in call:
                _raise_error(frame.header)
                return int(frame.header["count"])
        finally:
            await call.aclose()
        raise BackendUnavailable("the worker did not count", status=529)

    async def models(self) -> Sequence[ModelInfo]:
        """The configured model first, then what else lies in the models folder."""
        return [self._info(file.name) for file in await self.loader.names()]

    async def load(self, model: str) -> None:
        """Have a model ready; also ends a quarantine after crashes.

        Raises:
            BackendUnavailable: file missing, damaged or too large.
            RequestRejected: no model has that name.
        """
        loaded = await self.loader.get(model)
        loaded.supervisor.reset()
        await loaded.supervisor.ready()

    async def unload(self, model: str) -> bool:
        """Take a model out of memory; False where it is not there."""
        return await self.loader.unload(model)

    def _info(self, name: str) -> ModelInfo:
        loaded = self.loader.loaded.get(name)
        if loaded is None:
            notice = DEMO_NOTICE if name == DEMO else ""
            return ModelInfo(name, display_name=name, state="unloaded", notice=notice)
        size = {"parameters": loaded.header.parameters, "bytes": loaded.header.size}
        return ModelInfo(
            name,
            display_name=loaded.header.text("general.name") or name,
            context_tokens=loaded.plan.context,
            max_output_tokens=loaded.plan.context,
            state=_STATES.get(loaded.supervisor.state, "unloaded"),  # pyright: ignore[reportArgumentType]
            capabilities=frozenset(
                {"tools", "structured_output", *(["images"] if loaded.mmproj else [])}
            ),
            extra={"architecture": loaded.header.architecture, **size},
            notice=DEMO_NOTICE if loaded.is_demo else "",
        )


class Generation:
    """The events of one reply, as the worker makes it."""

    def __init__(
        self,
        call: Call,
        loaded: Loaded,
        model: str,
        note: Note,
        held: Held | None = None,
        names: ClientNames | None = None,
    ) -> None:
        """`held` judges the calls of the demonstration model, `names` puts them as the client
        knows them."""
        self._call = call
        self._held = held
        self._names = names
        self._emitter = Emitter(model=model)
        self._signature = signature("local", loaded.file.name)
        self._note = note
        self._first: list[StreamEvent] = []
        self._frames = aiter(call)
        self._done = False

    async def begin(self) -> None:
        """Wait until the request has its slot.

        Raises:
            RequestRejected: the prompt is too long, or cannot be rendered.
            BackendUnavailable: the worker died.
        """
        while not self._first:
            self._first = await self._next()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """The events, in order."""
        for item in self._first:
            yield item
        while not self._done:
            for item in await self._next():
                yield item

    async def aclose(self) -> None:
        """Stop the work where it has not ended."""
        await self._call.aclose()

    async def _next(self) -> list[StreamEvent]:
        frame = await anext(self._frames, None)
        if frame is None:
            raise StreamInterrupted("the worker ended the reply without an end")
        header = frame.header
        _raise_error(header)
        events: list[StreamEvent] = []
        for op in header.get("ops", ()):
            events += self._events(op)
        self._done = bool(header.get("end"))
        return events

    def _events(self, op: Sequence[Any]) -> list[StreamEvent]:
        match op:
            case ["text", str(text)]:
                self._call.begun = True
                return self._emitter.text(self._held.text(text) if self._held else text)
            case ["thinking", str(text)]:
                self._call.begun = True
                # It has none; a call that is read out of thoughts later was not judged.
                text = "" if self._held else text
                return self._emitter.thinking(text, signature=self._signature)
            case ["tool", str(name), str(arguments)]:
                self._call.begun = True
                return self._tool(name, arguments)
            case ["cut"]:
                self._call.begun = True
                return self._emitter.cut_call()
            case ["start", usage]:
                return self._emitter.start(usage)
            case ["end", reason, stop, usage]:
                events = self._rest()
                reason = self._held.stop_reason(reason) if self._held else reason
                return [*events, *self._emitter.finish(reason, usage, stop_sequence=stop)]
            case ["note", str(text)]:
                self._say(text)
            case _:
                _log.debug("the worker said something unknown: %r", op[:1])
        return []

    def _tool(self, name: str, arguments: str) -> list[StreamEvent]:
        """A complete call; of the demonstration model words instead, where it fits no shape."""
        events = self._rest()
        reason = self._held.reason_against(name, arguments) if self._held else ""
        if self._held and reason:
            self._say(f"the demonstration model's call of `{name}` was held back: {reason}")
            return [*events, *self._emitter.text(self._held.refusal())]
        if self._names:
            name, arguments = self._names.back(name, arguments)
        events += self._emitter.tool_start(name)
        events += self._emitter.tool_arguments(arguments)
        return [*events, *self._emitter.close_block()]

    def _rest(self) -> list[StreamEvent]:
        return self._emitter.text(self._held.text("", final=True)) if self._held else []

    def _say(self, text: str) -> None:
        self._note(text)
        _log.info("%s", text)


def _raise_error(header: Mapping[str, Any]) -> None:
    error = header.get("error")
    if error is None:
        return
    message, status = str(error["message"]), int(error.get("status", 500))
    if status < 500:
        record = str(error.get("record") or "")
        raise RequestRejected(message, status=status, retry=error.get("retry"), record=record)
    raise BackendUnavailable(message, status=status, permanent=bool(error.get("permanent")))
