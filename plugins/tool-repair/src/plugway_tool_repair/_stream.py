"""The reply to one attempt: read until something may go to the client, asked for again if need be.

What is mended is `_mend`'s business.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

import anyio
import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendProtocolError,
    BackendTimeout,
    MessagesRequest,
    Reply,
    Send,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
    collect,
    new_id,
    replay,
)
from plugway_tool_repair._blocks import CUT_SHORT
from plugway_tool_repair._mend import BadCall, Mender
from plugway_tool_repair._options import ToolRepairOptions
from plugway_tool_repair._tools import Toolbox
from plugway_tool_repair._wire import events_of

Note = Callable[[str], None]


class Asking:
    """One attempt, with at most one more send."""

    def __init__(
        self,
        send: Send,
        attempt: Attempt,
        options: ToolRepairOptions,
        toolbox: Toolbox,
        note: Note,
    ) -> None:
        self._send = send
        self._attempt = attempt
        self._options = options
        self._toolbox = toolbox
        self._note = note

    async def run(self, request: MessagesRequest) -> Reply:
        """The reply that the client may get.

        Raises:
            BackendError: the attempt failed, or gave nothing that may be handed on.
        """
        may_ask = self._options.ask_again
        while True:
            reply = await self._send(request, self._attempt)
            if reply.status >= 400 or reply.dialect:  # the client's own dialect is not touched
                return reply
            mender = self._mender(judged=not may_ask and self._passes)
            try:
                answer = await self._read(reply, mender)
            except BaseException:
                await reply.close()
                raise
            if answer is not None:
                return answer
            await reply.close()
            if not may_ask:
                raise self._failure(mender.bad)
            may_ask = False
            if mender.bad is not None:
                self._note(f"asked again: {_told(mender.bad)[:300]}")
                request = _extended(request, mender.bad)
            else:
                self._note("asked again: the answer had no content")

    @property
    def _passes(self) -> bool:
        """Whether a call that stays wrong is handed on: also where nobody else could do better."""
        policy = self._options.unfixable
        return policy == "pass" or (policy == "fail_over" and self._attempt.last)

    def _mender(self, *, judged: bool) -> Mender:
        options = self._options
        mender = Mender(
            self._toolbox,
            self._note,
            rescue=options.rescue and bool(self._toolbox),
            leaks=options.remove_leaks,
            model=self._attempt.model,
        )
        mender.judged = judged
        return mender

    async def _read(self, reply: Reply, mender: Mender) -> Reply | None:
        """The reply, mended; None where it is not fit for the client."""
        if reply.body is not None:
            return await _whole(reply, reply.body, mender)
        source = events_of(reply)
        head: list[StreamEvent] = []
        hidden = {"thinking", "redacted_thinking"} if self._options.hold_thinking else set[str]()
        while not mender.seen - hidden and not mender.ended:
            item = await self._next(source)
            if item is None:
                break
            head += mender.feed(item)
            if mender.bad is not None or mender.empty:
                return None
        mender.judged = True
        return reply.replace(events=None, chunks=_bytes(head, source, mender))

    async def _next(self, source: AsyncIterator[StreamEvent]) -> StreamEvent | None:
        seconds = self._attempt.first_event_seconds
        try:
            with anyio.fail_after(seconds):
                item = await anext(source, None)
        except TimeoutError:
            target = self._attempt.target
            raise BackendTimeout(f"`{target}` fell silent for {seconds:g} s") from None
        if item is not None and item.type == "error":
            raise _interrupted(item)
        return item

    def _failure(self, bad: BadCall | None) -> BackendError:
        if bad is None:
            return BackendProtocolError("it answered without content, twice")
        error = BackendProtocolError(f"its tool call stayed wrong: {_told(bad)[:500]}")
        error.try_next = self._options.unfixable == "fail_over"
        error.permanent = self._options.unfixable == "error"
        return error


async def _bytes(
    head: list[StreamEvent], source: AsyncIterator[StreamEvent], mender: Mender
) -> AsyncIterator[bytes]:
    """What was read before, then the rest as it comes."""
    yield b"".join(item.encode() for item in head)
    while not mender.ended:
        item = await anext(source, None)
        if item is None:
            return
        if item.type == "error":
            raise _interrupted(item)
        if out := mender.feed(item):
            yield out[0].encode() if len(out) == 1 else b"".join(i.encode() for i in out)


async def _whole(reply: Reply, body: bytes, mender: Mender) -> Reply | None:
    """A reply in one piece: as its stream would be."""
    try:
        message = as_object(orjson.loads(body))
    except orjson.JSONDecodeError:
        return reply
    if not isinstance(message.get("content"), list):
        return reply
    found: list[StreamEvent] = []
    last = as_object(message["content"][-1]) if message["content"] else {}
    if message.get("stop_reason") in CUT_SHORT and last.get("type") == "tool_use":
        # What a server gives as an object, it has closed itself.
        message = {**message, "content": message["content"][:-1]}
        mender.leave_out(str(last.get("name")))
    for item in replay(message):
        found += mender.feed(item)
        if mender.bad is not None or mender.empty:
            return None
    if not mender.changed:
        return reply
    new = await collect(_async(found))
    changes = {key: new[key] for key in ("content", "stop_reason", "stop_sequence") if key in new}
    return reply.replace(body=orjson.dumps({**message, **changes}))


async def _async(items: Iterable[StreamEvent]) -> AsyncIterable[StreamEvent]:
    for item in items:
        yield item


def _interrupted(item: StreamEvent) -> StreamInterrupted:
    detail = as_object(item.data.get("error"))
    status = {"overloaded_error": 529, "rate_limit_error": 429}.get(str(detail.get("type")), 500)
    return StreamInterrupted(str(detail.get("message") or "the stream failed"), status=status)


def _told(bad: BadCall) -> str:
    return f"`{bad.name}`: " + "; ".join(bad.problems)


def _extended(request: MessagesRequest, bad: BadCall) -> MessagesRequest:
    """The conversation with the bad call, and what was wrong with it as its result."""
    try:
        arguments = as_object(orjson.loads(bad.arguments))
    except orjson.JSONDecodeError:
        arguments = {}
    identifier = new_id("toolu")
    call = {"type": "tool_use", "id": identifier, "name": bad.name, "input": arguments}
    text = f"The call was not made. {_told(bad)}. Call again with arguments that fit the schema."
    result = {
        "type": "tool_result",
        "tool_use_id": identifier,
        "is_error": True,
        "content": text,
    }
    messages = [
        *as_list(request.body.get("messages")),
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    return request.replace(messages=messages, because="the model is told what its call lacks")
