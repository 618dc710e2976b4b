"""The reply to one attempt: read until content may be sent to the client, with retries if needed.

See `_repairer` for the repairs.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendProtocolError,
    BackendRefused,
    MessagesRequest,
    Original,
    Reply,
    Send,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
    collected,
    replay,
)
from plugway_tool_repair._again import extended, problems_of, recorded
from plugway_tool_repair._arguments import dumps
from plugway_tool_repair._blocks import BadCall
from plugway_tool_repair._chat import DIALECT, ChatText, own_names
from plugway_tool_repair._chat_bytes import ChatStream, read_whole
from plugway_tool_repair._failed import PARSED_HERE, Unparsed, message_of, unparsed
from plugway_tool_repair._forced import Demand
from plugway_tool_repair._options import ToolRepairOptions
from plugway_tool_repair._relayed import Insisting, is_expressible
from plugway_tool_repair._repairer import Repairer
from plugway_tool_repair._rest import rest_of
from plugway_tool_repair._tools import Toolbox
from plugway_tool_repair._wire import events_of, next_in_time
from plugway_translation import safe_name
from plugway_wire.bounds import breath
from plugway_wire.events import CUT_REASONS, interrupted

Note = Callable[[str], None]
_LARGE: Final = 2**18
"""Bytes of a complete reply above which the event loop runs first: a backend has just parsed it."""
_FORM: Final = (400, 413, 422)
"""Statuses with which servers refuse a request for what is in it."""
_MOST_SAID: Final = 4000
"""Characters of a call in an error that are shown to the model."""
_LEAST_ROOM: Final = 4096
_MOST_ROOM: Final = 64_000
"""Limits of `max_tokens` for the retry of a call that was cut off."""


class Asking:
    """One attempt, with at most one retry for each of two reasons: an invalid call or an empty
    reply, and a call that was cut off."""

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
        self._may_ask = options.ask_again
        self._may_grow = options.ask_again
        self._demand = Demand(toolbox)

    async def run(self, request: MessagesRequest) -> Reply:
        """The reply for the client.

        Raises:
            BackendError: the attempt failed, or its reply is unusable.
        """
        cut: Reply | None = None
        """A reply without its only call: it is used if the retry fails."""
        first: MessagesRequest | None = None
        """The request whose reply had a bad call: it is sent again if the retry is refused."""
        while True:
            try:
                reply, answer, repairer = await self._ask(request)
            except BackendError as error:
                if cut is None and first is not None and error.status in _FORM:
                    self._note(f"the question about the call was refused: {error.record[:200]}")
                    request, first = first, None
                    continue
                if cut is None:
                    raise
                self._note(f"a larger `max_tokens` was refused: {error.record[:200]}")
                return cut
            if cut is not None:
                await cut.close()
                cut = None
            if repairer is None:
                return reply
            if answer is not None:
                larger = self._with_room(request, repairer)
                if larger is None:
                    return answer
                request, cut = larger, answer
                continue
            await reply.close()
            first = request if repairer.bad is not None else None
            request = self._again(request, repairer)

    async def _ask(self, request: MessagesRequest) -> tuple[Reply, Reply | None, Repairer | None]:
        """The backend's reply, that reply repaired or None if it is unusable, and its repairer."""
        self._demand = Demand(self._toolbox)
        try:
            reply = await self._send(request, self._attempt)
        except BackendError as failure:
            return await self._failed(request, failure)
        if isinstance(self._send, Insisting) and self._send.retried:
            self._may_ask = False
        try:
            if reply.status >= 400 or reply.dialect:
                return reply, *await self._relayed(request, reply)
            repairer = self._repairer(request, reply)
            return reply, await self._read(reply, repairer), repairer
        except (BackendRefused, StreamInterrupted) as failure:  # before any content
            await reply.close()
            self._demand = Demand(self._toolbox)
            return await self._failed(request, failure)
        except BaseException:
            await reply.close()
            raise

    async def _relayed(
        self, request: MessagesRequest, reply: Reply
    ) -> tuple[Reply | None, Repairer | None]:
        """A reply in the client's own API; calls of Chat Completions are checked, or converted.
        None if a bad call is requested again, which is possible in the Messages API only."""
        original = request.original
        chat = reply.dialect == DIALECT and reply.status < 400
        if original is None or not (chat and self._toolbox):
            return reply, None
        may_call = own_names(original)
        if not may_call:
            return reply, None
        if not is_expressible(request):
            self._may_ask = self._may_grow = False
        toolbox = self._toolbox.of_client(may_call)
        repairer = self._repairer(request, reply, toolbox)
        hold, whole = self._options.hold_thinking, reply.chunks is None
        text = ChatText(repairer, toolbox, self._note, whole=whole, hold_thinking=hold)
        answer = await self._read_chat(reply, text, repairer)
        if text.bad is not None:
            repairer.bad = self._translated(text.bad)
            return None, repairer
        repairer.judged = True
        repairer.cut = text.cut
        repairer.repeatable = text.cut is not None and text.repeatable and _has_limit(original)
        return answer, repairer

    async def _read_chat(self, reply: Reply, text: ChatText, repairer: Repairer) -> Reply:
        if reply.chunks is None:
            return reply.replace(body=read_whole(reply.body, text)) if reply.body else reply
        stream, head = ChatStream(text), list[bytes]()
        while not (repairer.judged or text.shown or stream.over):
            chunk = await next_in_time(reply.chunks, self._attempt)
            head.append(stream.end() if chunk is None else stream.feed(chunk))
            if text.bad is not None:
                break
        return reply.replace(chunks=stream.read(reply.chunks, b"".join(head)))

    def _translated(self, bad: BadCall) -> BadCall:
        """The same with the names that tools have in the Messages API."""
        name, problems = safe_name(bad.name), bad.problems
        if not bad.source:
            problems = self._toolbox.judge(name, bad.arguments).problems or problems
        others = tuple((safe_name(other), arguments) for other, arguments in bad.others)
        return replace(bad, name=name, problems=problems, others=others)

    async def _failed(
        self, request: MessagesRequest, failure: BackendError
    ) -> tuple[Reply, Reply | None, Repairer]:
        """The same as `_ask` for the model's text inside an error: the server could not parse it.
        Raises the error if it has no call, or only one that was requested again before."""
        found = self._unparsed(failure)
        may_ask = found is not None and found.is_attempt and self._may_ask
        if found is None or not (found.is_call or may_ask):
            raise failure
        reply = message_of(found.text, self._attempt.model)
        repairer = self._repairer(request, reply)
        if found.is_call:
            self._note(PARSED_HERE)
            return reply, await self._read(reply, repairer), repairer
        repairer.bad = BadCall("", "", ("the server could not parse it",), found.text[:_MOST_SAID])
        return reply, None, repairer

    def _unparsed(self, failure: BackendError) -> Unparsed | None:
        able = self._options.rescue and bool(self._toolbox)
        return unparsed(failure, self._toolbox) if able else None

    def _again(self, request: MessagesRequest, repairer: Repairer) -> MessagesRequest:
        """The next request after an unusable reply. Raises `BackendError` if there is no retry."""
        bad = repairer.bad
        if not self._may_ask:
            raise self._failure(bad)
        self._may_ask = False
        if bad is None and repairer.empty:
            self._note("retried: the reply had no content")
            return request
        if bad is None:
            self._note(f"retried: the reply lacks {self._demand.missing}")
            return self._demand.repeated(request)
        self._note(f"retried: {recorded(bad, self._toolbox)}")
        return extended(request, bad)

    def _with_room(self, request: MessagesRequest, repairer: Repairer) -> MessagesRequest | None:
        """The request with a higher limit, if `max_tokens` cut off the reply's only call.

        None if it did not, if that was tried, or if the limit is not the client's own.
        """
        asked = _limit(request)
        lowered = any(change.field == "max_tokens" for change in request.changes)
        room = min(max(2 * asked, _LEAST_ROOM), _MOST_ROOM)
        by_limit = repairer.cut is not None and not repairer.stopped
        by_limit = by_limit and repairer.reason != "model_context_window_exceeded"
        if (
            not (self._may_grow and by_limit and repairer.repeatable and 0 < asked < room)
            or lowered
        ):
            return None
        self._may_grow = False
        called = self._toolbox.called(repairer.cut or "")
        self._note(f"retried: {called} was cut off; `max_tokens` raised from {asked} to {room}")
        return request.replace(max_tokens=room, because="a tool call was cut off by it")

    @property
    def _passes(self) -> bool:
        """Whether an invalid call is passed on, also because no other target could do better."""
        policy = self._options.unfixable
        return policy == "pass" or (policy == "fail_over" and self._attempt.last)

    def _repairer(
        self, request: MessagesRequest, reply: Reply, toolbox: Toolbox | None = None
    ) -> Repairer:
        options, toolbox = self._options, self._toolbox if toolbox is None else toolbox
        repairer = Repairer(
            toolbox,
            self._note,
            rescue=options.rescue and bool(toolbox),
            leaks=options.remove_leaks,
            model=self._attempt.model,
            most=_limit(request),
            stops=bool(request.body.get("stop_sequences")),
            objects=reply.events is not None or reply.made,
        )
        repairer.judged = not self._may_ask and self._passes
        return repairer

    async def _read(self, reply: Reply, repairer: Repairer) -> Reply | None:
        """The reply, repaired; None if it is unusable."""
        if reply.body is not None:
            found = await _whole(reply, repairer, self._demand)
            if repairer.bad is not None and not repairer.bad.source:
                repairer.bad = replace(repairer.bad, others=self._valid_calls(reply.parsed))
            if found is not None and self._is_lacking(repairer):
                return None
            repairer.repeatable = repairer.cut is not None and not repairer.calls
            return found
        source = events_of(reply)
        head: list[StreamEvent] = []
        hidden = {"thinking", "redacted_thinking"} if self._options.hold_thinking else set[str]()
        demand = self._demand
        while (
            not repairer.ended and (demand.open or not repairer.seen - hidden) and not demand.full
        ):
            item = await self._next(source)
            if item is None:
                break
            fed = repairer.feed(item)
            demand.feed(fed)
            head += fed
            if repairer.bad is not None or repairer.empty:
                return None
        if self._is_lacking(repairer):
            return None
        repairer.judged = True
        repairer.repeatable = repairer.cut is not None and not repairer.calls
        rest = rest_of(head, source, repairer, self._unparsed, self._note)
        return reply.replace(events=None, chunks=rest)

    def _valid_calls(self, message: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """Name and arguments of the valid calls that the server parsed."""
        blocks = [as_object(block) for block in as_list(message.get("content"))]
        calls = [block for block in blocks if block.get("type") == "tool_use"]
        verdicts = [self._toolbox.judge(str(c.get("name")), dumps(c.get("input"))) for c in calls]
        return tuple((v.name, v.arguments) for v in verdicts if not v.problems)

    def _is_lacking(self, repairer: Repairer) -> bool:
        """Whether to ask again for a required call; if it is still missing, the receipt says so.
        Not for a call that was cut off, nor for a refusal."""
        demand = self._demand
        if not demand.open or repairer.cut is not None or not (repairer.ended or demand.full):
            return False
        if self._may_ask and not demand.full and repairer.reason != "refusal":
            return True
        self._note(f"the reply lacks {demand.missing}; it is passed on unchanged")
        return False

    async def _next(self, source: AsyncIterator[StreamEvent]) -> StreamEvent | None:
        item = await next_in_time(source, self._attempt)
        if item is not None and item.type == "error":
            raise interrupted(item.data)
        return item

    def _failure(self, bad: BadCall | None) -> BackendError:
        if bad is None:
            return BackendProtocolError("its reply had no content, twice")
        what = "its tool call is still invalid"
        record = f"{what}: {recorded(bad, self._toolbox)}"
        error = BackendProtocolError(f"{what}: {problems_of(bad)[:500]}", record=record)
        error.try_next = self._options.unfixable == "fail_over"
        error.permanent = self._options.unfixable == "error"
        return error


async def _whole(reply: Reply, repairer: Repairer, demand: Demand) -> Reply | None:
    """A complete reply, repaired as its stream would be."""
    await breath(len(reply.body or b"") > _LARGE)
    message = reply.parsed
    if not isinstance(message.get("content"), list):
        return reply
    found: list[StreamEvent] = []
    async for item in events_of(Reply.streamed(_async(_replayed(message, whole=reply.made)))):
        fed = repairer.feed(item)
        demand.feed(fed)
        found += fed
        if repairer.bad is not None or repairer.empty:
            return None
    if not repairer.changed:
        return reply
    new = collected(found)
    changes = {key: new[key] for key in ("content", "stop_reason", "stop_sequence") if key in new}
    return reply.replace(body=orjson.dumps({**message, **changes}))


def _replayed(message: Mapping[str, Any], *, whole: bool) -> Iterator[StreamEvent]:
    """The events of a complete message.

    A server that parses calls itself sends arguments as an object, even if the call was cut off: a
    last call does not show whether the server closed the object. Without `whole` it has no
    arguments.
    """
    cut = not whole and message.get("stop_reason") in CUT_REASONS
    last = len(as_list(message.get("content"))) - 1 if cut else -1
    for item in replay(message):
        delta = as_object(item.data.get("delta"))
        if item.data.get("index") != last or delta.get("type") != "input_json_delta":
            yield item


def _has_limit(original: Original) -> bool:
    """Whether the client of Chat Completions limits the reply."""
    return any(original.get(name) for name in ("max_tokens", "max_completion_tokens"))


def _limit(request: MessagesRequest) -> int:
    most = request.body.get("max_tokens")
    return most if isinstance(most, int) else 0


async def _async(items: Iterable[StreamEvent]) -> AsyncIterable[StreamEvent]:
    for item in items:
        yield item
