"""The backend: sends requests to the worker and converts its output to events.

The worker renders, counts and decodes; `_models` knows the worker of each model.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
    StreamEvent,
    StreamInterrupted,
)
from plugway_embeddings import Embedded, Wanted
from plugway_llama_cpp._client_names import ClientNames
from plugway_llama_cpp._embedding import vectors_of
from plugway_llama_cpp._folder import DEMO, DEMO_NOTICE
from plugway_llama_cpp._held import Held
from plugway_llama_cpp._memory import resident_memory
from plugway_llama_cpp._models import Loaded, Models
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_llama_cpp._refusal import raise_error
from plugway_local_engine import Call, Supervisor
from plugway_local_models import LoadedModel, MakesRoom
from plugway_signature import signature
from plugway_wire.shape import wrong_choice

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
        """Whether to restrict the demo model's calls to three forms; tests may disable it."""

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference. The reply starts when the prompt is accepted, not when it is computed.

        Raises:
            InvalidRequest: `tool_choice` is invalid.
            BackendError: the model is not available, or its worker failed.
        """
        if request.get("tool_choice") is not None and (wrong := wrong_choice(request.body)):
            raise InvalidRequest(wrong, retry=False, record=True)
        loaded = await self._speaking(attempt)
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
        """Exact number of tokens of the rendered prompt."""
        loaded = await self._speaking(attempt)
        header = {"op": "count", "caller": attempt.exchange.caller.share}
        asked = ClientNames(request).request if loaded.is_demo else request
        call = await loaded.supervisor.call(header, asked.raw)
        try:
            async for frame in call:
                raise_error(frame.header)
                return int(frame.header["count"])
        finally:
            await call.aclose()
        raise BackendUnavailable("the worker did not count", status=529)

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Vectors of length 1 (`Embeds`).

        Raises:
            InvalidRequest: the model is not an embedding model, or the input does not suit it.
            BackendError: the model cannot be loaded, or its worker failed.
        """
        loaded = await self.loader.get(attempt.model, attempt.note)
        if not loaded.header.embeds:
            what = f"model: `{loaded.file.name}` is not an embedding model"
            raise InvalidRequest(what, retry=False, record=True)
        return await vectors_of(loaded.supervisor, wanted, attempt, loaded.file.name)

    async def models(self) -> Sequence[ModelInfo]:
        """The configured model first, then the others in the models folder."""
        return [self._info(file.name) for file in await self.loader.names()]

    async def load(self, model: str) -> None:
        """Load a model; also enables it again after too many crashes.

        Raises:
            BackendUnavailable: the file is missing, damaged or too large.
            RequestRejected: no model has that name.
        """
        loaded = await self.loader.get(model)
        loaded.supervisor.reset()
        await loaded.supervisor.ready()

    async def unload(self, model: str) -> bool:
        """Unload a model from memory; False if it was not loaded."""
        return await self.loader.unload(model)

    async def loaded(self) -> list[LoadedModel]:
        """The models that have a worker, also one that failed (`HoldsModels`)."""
        return [_held(model) for model in self.loader.loaded.values()]

    async def needs(self, model: str) -> int:
        """Bytes of a model with its cache, from the file's header.

        Raises:
            BackendUnavailable: the file is missing or damaged.
            RequestRejected: no model has that name.
        """
        return await self.loader.needs(model)

    def ask_for_room(self, room: MakesRoom) -> None:
        """From now on, load no model before `room` has made room for it (`AsksForRoom`)."""
        self.loader.room = room

    async def free_caches(self) -> int:
        """Drop the states of conversations that have no slot; those on disk stay. Returns their
        bytes (`FreesCaches`)."""
        freed = 0
        for loaded in self.loader.loaded.values():
            if loaded.supervisor.state == "ready" and not loaded.header.embeds:
                freed += await _freed(loaded.supervisor)
        return freed

    async def name_of(self, model: str) -> str:
        """The name of the file that a request means (`NamesModels`)."""
        return await self.loader.name_of(model)

    async def _speaking(self, attempt: Attempt) -> Loaded:
        loaded = await self.loader.get(attempt.model, attempt.note)
        if loaded.header.embeds:
            what = (
                f"model: `{loaded.file.name}` is an embedding model; request it at /v1/embeddings"
            )
            raise InvalidRequest(what, retry=False, record=True)
        return loaded

    def _info(self, name: str) -> ModelInfo:
        loaded = self.loader.loaded.get(name)
        if loaded is None:
            notice = self.loader.misfit(name) or (DEMO_NOTICE if name == DEMO else "")
            return ModelInfo(name, display_name=name, state="unloaded", notice=notice)
        able = {"embeddings"} if loaded.header.embeds else {"tools", "structured_output"}
        size = {"parameters": loaded.header.parameters, "bytes": loaded.header.size}
        return ModelInfo(
            name,
            display_name=loaded.header.text("general.name") or name,
            context_tokens=loaded.plan.context,
            max_output_tokens=loaded.plan.context,
            state=_STATES.get(loaded.supervisor.state, "unloaded"),  # pyright: ignore[reportArgumentType]
            capabilities=frozenset({*able, *(["images"] if loaded.mmproj else [])}),
            extra={"architecture": loaded.header.architecture, **size},
            notice=DEMO_NOTICE if loaded.is_demo else "",
        )


async def _freed(supervisor: Supervisor) -> int:
    call = await supervisor.call({"op": "free"})
    try:
        async for frame in call:
            return int(frame.header.get("freed", 0))
    finally:
        await call.aclose()
    return 0


def _held(loaded: Loaded) -> LoadedModel:
    supervisor = loaded.supervisor
    resident, mapped = resident_memory(supervisor.pid)
    return LoadedModel(
        loaded.file.name,
        size=max(loaded.plan.total, resident),
        requests=supervisor.busy,
        idle_seconds=time.monotonic() - supervisor.last_used,
        state="loaded" if supervisor.state == "ready" else supervisor.state,
        context_tokens=loaded.plan.context,
        reclaimable=mapped,
        pid=supervisor.pid,
        problem=supervisor.failure[0] if supervisor.failure else "",
    )


class Generation:
    """The events of one reply while the worker generates it."""

    def __init__(
        self,
        call: Call,
        loaded: Loaded,
        model: str,
        note: Note,
        held: Held | None = None,
        names: ClientNames | None = None,
    ) -> None:
        """`held` checks the calls of the demo model, `names` translates them to the client's
        tools."""
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
        """Wait until the request has a slot.

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
        """Cancel the work if it has not ended."""
        await self._call.aclose()

    async def _next(self) -> list[StreamEvent]:
        frame = await anext(self._frames, None)
        if frame is None:
            raise StreamInterrupted("the worker ended the reply without an end frame")
        header = frame.header
        raise_error(header)
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
                # Demo thinking is dropped: calls that a plugin finds in it would be unchecked.
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
                _log.debug("unknown operation of the worker: %r", op[:1])
        return []

    def _tool(self, name: str, arguments: str) -> list[StreamEvent]:
        """A complete call; text instead if the demo model's call has no allowed form."""
        events = self._rest()
        reason = self._held.reason_against(name, arguments) if self._held else ""
        if self._held and reason:
            self._say(f"the demo model's call of `{name}` was blocked: {reason}")
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
