"""Answers of a model that was offered functions for server tools: its calls of them fail.

Anthropic's servers answer such a call and ask the model again, all in one message. So does this:
the call and its error go out as blocks, the model is told, and what it says then follows in the
same message. `pause_turn` would leave the asking to the client, which sends the same again without
a bound; ending the turn after the error would leave the user without an answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendProtocolError,
    MessagesRequest,
    Reply,
    Send,
    StreamEvent,
    as_list,
    as_object,
    collect,
    event,
    new_id,
    replay,
)
from plugway_server_tools._known import ServerTool, call_block

MOST_AGAIN: Final = 2
"""How often the model is asked again within one message."""
MAX_HELD: Final = 8 * 2**20
"""Characters of one answer that are held, to be told to the model in the next."""

_GOES_ON: Final = frozenset(("tool_use", "end_turn", "stop_sequence", None))
"""Reasons to stop with which an answer is whole; after any other it is not gone on with."""

Note = Callable[[str], None]


@dataclass(slots=True)
class _Open:
    """A block that has begun."""

    block: dict[str, Any]
    parts: list[str] = field(default_factory=list[str])
    hidden: bool = False
    """A call that fails: it goes out when it is whole."""


class _Round:
    """One answer of the model, read event by event."""

    def __init__(self, offered: Mapping[str, ServerTool], index: int, *, first: bool) -> None:
        self._offered = offered
        self._first = first
        self._open: dict[Any, _Open] = {}
        self._moved: dict[Any, int] = {}
        self._held = 0
        self.index = index
        """The next block's index for the client."""
        self.said: list[dict[str, Any]] = []
        """The answer's blocks, as the model is told of them."""
        self.failed: list[tuple[str, str]] = []
        """Id and name of each call that failed."""
        self.own_calls = False
        """It calls a tool of the client's."""
        self.usage: dict[str, Any] = {}
        self.delta: StreamEvent | None = None
        self.ended = False

    @property
    def goes_on(self) -> bool:
        """The model is to be told of the failure, and asked again."""
        delta = as_object(self.delta.data.get("delta")) if self.delta is not None else {}
        reason = delta.get("stop_reason")
        return bool(self.failed) and not self.own_calls and reason in _GOES_ON

    def feed(self, item: StreamEvent) -> list[StreamEvent]:
        """The events for the client."""
        match item.type:
            case "message_start":
                self.usage |= as_object(as_object(item.data.get("message")).get("usage"))
                return [item] if self._first else []
            case "content_block_start":
                return self._start(item)
            case "content_block_delta":
                return self._grown(item)
            case "content_block_stop":
                return self._stop(item)
            case "message_delta":
                self.delta = item
                new = as_object(item.data.get("usage")).items()
                self.usage |= {key: value for key, value in new if value is not None}
                return []
            case "message_stop":
                self.ended = True
                return []
            case _:
                return [item]

    def _start(self, item: StreamEvent) -> list[StreamEvent]:
        block = dict(as_object(item.data.get("content_block")))
        index = item.data.get("index")
        called = block.get("type") == "tool_use"
        hidden = called and str(block.get("name")) in self._offered
        self._open[index] = _Open(block, hidden=hidden)
        self.own_calls = self.own_calls or (called and not hidden)
        if hidden:
            return []
        self._moved[index] = self.index
        self.index += 1
        return [self._at(item)]

    def _grown(self, item: StreamEvent) -> list[StreamEvent]:
        index = item.data.get("index")
        opened = self._open.get(index)
        if opened is None:
            raise BackendProtocolError("a delta names a block that is not open")
        delta = as_object(item.data.get("delta"))
        if delta.get("type") == "signature_delta":
            opened.block["signature"] = delta.get("signature")
        else:
            texts = (delta.get(key) for key in ("text", "thinking", "partial_json"))
            part = next((text for text in texts if isinstance(text, str)), "")
            self._held += len(part)
            if self._held > MAX_HELD:
                raise BackendProtocolError(f"an answer has more than {MAX_HELD} characters")
            opened.parts.append(part)
        return [] if opened.hidden else [self._at(item)]

    def _stop(self, item: StreamEvent) -> list[StreamEvent]:
        opened = self._open.pop(item.data.get("index"), None)
        if opened is None:
            raise BackendProtocolError("a block ends that is not open")
        block, text = opened.block, "".join(opened.parts)
        if block.get("type") in ("text", "thinking"):
            key = str(block["type"])
            block[key] = f"{block.get(key) or ''}{text}"
            if block[key]:
                self.said.append(block)
        elif opened.hidden:
            return self._fail(block, text)
        else:
            if block.get("type") == "server_tool_use":
                block["input"] = _arguments(text)
            self.said.append(block)
        return [self._at(item)]

    def _fail(self, block: dict[str, Any], text: str) -> list[StreamEvent]:
        """The call as one of a server tool, and its error."""
        arguments = _arguments(text) or as_object(block.get("input"))
        name = str(block["name"])
        identifier = str(block.get("id") or new_id("toolu"))
        self.failed.append((identifier, name))
        self.said.append({"type": "tool_use", "id": identifier, "name": name, "input": arguments})
        call = call_block(name, arguments)
        return [*self.added(call), *self.added(self._offered[name].error(call["id"]))]

    def added(self, block: dict[str, Any]) -> list[StreamEvent]:
        """The events of a block that no model has said."""
        events = list(replay({"content": [block]}))[1:-2]
        found = [StreamEvent(e.type, {**e.data, "index": self.index}) for e in events]
        self.index += 1
        return found

    def _at(self, item: StreamEvent) -> StreamEvent:
        """The event with the index that its block has for the client."""
        index = item.data.get("index")
        moved = self._moved.get(index)
        if moved == index:
            return item
        return StreamEvent(item.type, {**item.data, "index": moved})


class Rounds:
    """One attempt whose answer may call server tools."""

    def __init__(
        self, send: Send, attempt: Attempt, offered: Mapping[str, ServerTool], note: Note
    ) -> None:
        self._send = send
        self._attempt = attempt
        self._offered = offered
        self._note = note

    async def run(self, request: MessagesRequest) -> Reply:
        """The reply that the client may get.

        Raises:
            BackendError: the attempt failed.
        """
        reply = await self._send(request, self._attempt)
        if reply.status >= 400 or reply.dialect:
            return reply
        if reply.is_stream:
            return reply.replace(chunks=None, events=self._events(request, reply))
        message = reply.parsed
        blocks = map(as_object, as_list(message.get("content")))
        if not any(
            b.get("type") == "tool_use" and str(b.get("name")) in self._offered for b in blocks
        ):
            return reply
        made = await collect(self._events(request, reply))
        return reply.replace(body=orjson.dumps({**message, **made}))

    async def _events(self, request: MessagesRequest, reply: Reply) -> AsyncIterator[StreamEvent]:
        """The one message that all answers make."""
        index, written, asked = 0, 0, 0
        failed: dict[str, ServerTool] = {}
        while True:
            part = _Round(self._offered, index, first=asked == 0)
            async for item in _events_of(reply):
                for out in part.feed(item):
                    yield out
                if part.ended:
                    break
            if not part.ended or part.delta is None:
                return  # cut off: whoever reads sees that the end is missing
            written += _tokens(part.usage)
            for _, name in part.failed:
                failed[name] = self._offered[name]
                self._note(f"`{name}` was called and cannot be run: its error went out")
            again = (
                await self._again(request, part) if part.goes_on and asked < MOST_AGAIN else None
            )
            if again is None:
                for out in self._end(part, failed, written, empty=part.index == index):
                    yield out
                return
            request, reply = again
            index, asked = part.index, asked + 1

    async def _again(
        self, request: MessagesRequest, part: _Round
    ) -> tuple[MessagesRequest, Reply] | None:
        """The next request, and its reply; None where there is none to be had."""
        request = _told(request, part, self._offered)
        try:
            reply = await self._send(request, self._attempt)
        except BackendError as error:
            self._note(f"the model could not be asked again: {error.record[:200]}")
            return None
        if reply.status >= 400 or reply.dialect:
            self._note(f"the model could not be asked again: it answered {reply.status}")
            return None
        self._note("the model was told, and asked again")
        return request, reply

    def _end(
        self, part: _Round, failed: Mapping[str, ServerTool], written: int, *, empty: bool
    ) -> Iterable[StreamEvent]:
        """The last events. Where the model has no last word after a failure, ours stands for it."""
        assert part.delta is not None
        if not failed:
            yield part.delta
            yield event("message_stop")
            return
        delta = dict(as_object(part.delta.data.get("delta")))
        if part.goes_on or empty:
            words = [tool.told(name, self._attempt.target) for name, tool in failed.items()]
            yield from part.added({"type": "text", "text": " ".join(words)})
            delta |= {"stop_reason": "end_turn", "stop_sequence": None}
        usage = {**part.usage, "output_tokens": written}
        rest = {k: v for k, v in part.delta.data.items() if k not in {"type", "delta", "usage"}}
        yield event("message_delta", delta=delta, usage=usage, **rest)
        yield event("message_stop")


async def _events_of(reply: Reply) -> AsyncIterator[StreamEvent]:
    """The events of an answer; one that is whole as its stream would have been."""
    if not reply.is_stream:
        for item in replay(reply.parsed):
            yield item
        return
    source: AsyncIterable[StreamEvent] = reply.decoded()
    async for item in source:
        yield item


def _told(
    request: MessagesRequest, part: _Round, offered: Mapping[str, ServerTool]
) -> MessagesRequest:
    """The conversation with the answer, and what became of its calls."""
    results = [
        {
            "type": "tool_result",
            "tool_use_id": identifier,
            "is_error": True,
            "content": offered[name].told_model(name),
        }
        for identifier, name in part.failed
    ]
    messages = [
        *as_list(request.body.get("messages")),
        {"role": "assistant", "content": part.said},
        {"role": "user", "content": results},
    ]
    return request.replace(messages=messages, because="the model is told that its call failed")


def _arguments(text: str) -> dict[str, Any]:
    """Arguments of a call; none where they are no JSON object, since the call fails in any case."""
    try:
        return as_object(orjson.loads(text)) if text else {}
    except orjson.JSONDecodeError:
        return {}


def _tokens(usage: Mapping[str, Any]) -> int:
    count = usage.get("output_tokens")
    return count if isinstance(count, int) else 0
