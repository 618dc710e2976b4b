"""The gateway's side of a reply: requests to a worker, and its output as events."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from plugway import (
    Attempt,
    BackendUnavailable,
    Emitter,
    InvalidRequest,
    MessagesRequest,
    Reply,
    StreamEvent,
    StreamInterrupted,
)
from plugway_local_engine._demo_client_names import ClientNames
from plugway_local_engine._demo_held import Held
from plugway_local_engine._refusal import raise_error
from plugway_local_engine._supervisor import Call, Supervisor
from plugway_signature import signature
from plugway_wire.shape import wrong_choice

Note = Callable[[str], None]

_log = logging.getLogger(__name__)


def check_choice(request: MessagesRequest) -> None:
    """Raises `InvalidRequest` if `tool_choice` is invalid."""
    if request.get("tool_choice") is not None and (wrong := wrong_choice(request.body)):
        raise InvalidRequest(wrong, retry=False, record=True)


async def generate(
    supervisor: Supervisor,
    request: MessagesRequest,
    attempt: Attempt,
    *,
    file: str,
    demo: bool = False,
    held: bool = True,
) -> Reply:
    """The reply of a worker. It starts when the prompt is accepted, not when it is computed.

    `file` names the model in signatures. The `demo` model sees the client's tools under names that
    it knows, and its calls are `held` to three forms.

    Raises:
        RequestRejected: the prompt is too long, or cannot be rendered.
        BackendUnavailable: the worker cannot be loaded, or died.
    """
    exchange = attempt.exchange
    header = {
        "op": "generate",
        "request": exchange.id,
        "caller": exchange.caller.share,
        "session": exchange.session_id,
        "agent": exchange.agent_id,
    }
    names = ClientNames(request) if demo else None
    asked = names.request if names else request
    call = await supervisor.call(header, asked.raw)
    guard = Held(asked.body) if held and demo else None
    note = partial(exchange.note, attempt.backend.name, stage="engine")
    stream = Generation(call, file, request.model, note, guard, names)
    try:
        await stream.begin()
    except BaseException:
        await stream.aclose()
        raise
    return Reply.streamed(stream)


async def count_tokens(
    supervisor: Supervisor, request: MessagesRequest, attempt: Attempt, *, demo: bool = False
) -> int:
    """Exact number of tokens of the rendered prompt.

    Raises:
        RequestRejected: the prompt cannot be rendered.
        BackendUnavailable: the worker cannot be loaded, or died.
    """
    header = {"op": "count", "caller": attempt.exchange.caller.share}
    asked = ClientNames(request).request if demo else request
    call = await supervisor.call(header, asked.raw)
    try:
        async for frame in call:
            raise_error(frame.header)
            return int(frame.header["count"])
    finally:
        await call.aclose()
    raise BackendUnavailable("the worker did not count", status=529)


async def free_states(supervisor: Supervisor) -> int:
    """Drop the states of conversations that have no slot; those on disk stay. Returns their
    bytes; 0 if the worker does not run."""
    if supervisor.state != "ready":
        return 0
    call = await supervisor.call({"op": "free"})
    try:
        async for frame in call:
            return int(frame.header.get("freed", 0))
    finally:
        await call.aclose()
    return 0


class Generation:
    """The events of one reply while the worker generates it."""

    def __init__(
        self,
        call: Call,
        file: str,
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
        self._signature = signature("local", file)
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
