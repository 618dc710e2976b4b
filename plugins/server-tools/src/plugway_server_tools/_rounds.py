"""Replies of a model that was offered functions for server tools: calls of them fail.

Anthropic's servers answer such a call and continue with the model in the same message. So does
this: the call and its error are sent as blocks, the model gets the error as a tool result, and its
next reply follows in the same message. `pause_turn` would make the client send the same request
again without limit; ending the turn after the error would leave the user without a reply.
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
    event,
    new_id,
    replay,
)
from plugway_server_tools._known import ServerTool, call_block
from plugway_wire.events import collect

MOST_AGAIN: Final = 2
"""Maximum number of further requests within one message."""
MAX_HELD: Final = 8 * 2**20
"""Maximum characters of a reply that are kept for the next request to the model."""

_GOES_ON: Final = frozenset(("tool_use", "end_turn", "stop_sequence", None))
"""Stop reasons of a complete reply; after others the model is not asked again."""

Note = Callable[[str], None]


@dataclass(slots=True)
class _Open:
    """An open content block."""

    block: dict[str, Any]
    parts: list[str] = field(default_factory=list[str])
    hidden: bool = False
    """A call that fails: it is sent when it is complete."""


class _Round:
    """One reply of the model, read event by event."""

    def __init__(self, offered: Mapping[str, ServerTool], index: int, *, first: bool) -> None:
        self._offered = offered
        self._first = first
        self._open: dict[Any, _Open] = {}
        self._moved: dict[Any, int] = {}
        self._held = 0
        self.index = index
        """Index of the client's next block."""
        self.said: list[dict[str, Any]] = []
        """Blocks of the reply, for the next request to the model."""
        self.failed: list[tuple[str, str]] = []
        """Id and name of each call that failed."""
        self.own_calls = False
        """Whether it calls a tool that the client runs."""
        self.usage: dict[str, Any] = {}
        self.delta: StreamEvent | None = None
        self.ended = False

    @property
    def continues(self) -> bool:
        """Whether to send the error to the model and ask again."""
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
                raise BackendProtocolError(f"a reply has more than {MAX_HELD} characters")
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
        """The events of the call as a server tool call, and of its error."""
        arguments = _arguments(text) or as_object(block.get("input"))
        name = str(block["name"])
        identifier = str(block.get("id") or new_id("toolu"))
        self.failed.append((identifier, name))
        self.said.append({"type": "tool_use", "id": identifier, "name": name, "input": arguments})
        call = call_block(name, arguments)
        return [*self.added(call), *self.added(self._offered[name].error(call["id"]))]

    def added(self, block: dict[str, Any]) -> list[StreamEvent]:
        """The events of a block that the gateway adds."""
        events = list(replay({"content": [block]}))[1:-2]
        found = [StreamEvent(e.type, {**e.data, "index": self.index}) for e in events]
        self.index += 1
        return found

    def _at(self, item: StreamEvent) -> StreamEvent:
        """The event with the client's index of its block."""
        index = item.data.get("index")
        moved = self._moved.get(index)
        if moved == index:
            return item
        return StreamEvent(item.type, {**item.data, "index": moved})


class Rounds:
    """One attempt whose reply may call server tools."""

    def __init__(
        self, send: Send, attempt: Attempt, offered: Mapping[str, ServerTool], note: Note
    ) -> None:
        self._send = send
        self._attempt = attempt
        self._offered = offered
        self._note = note

    async def run(self, request: MessagesRequest) -> Reply:
        """The reply for the client.

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
        """The single message made of all replies."""
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
                return  # interrupted: the reader detects the missing end
            written += _tokens(part.usage)
            for _, name in part.failed:
                failed[name] = self._offered[name]
                self._note(f"`{name}` was called and cannot be run: an error was sent")
            again = (
                await self._again(request, part) if part.continues and asked < MOST_AGAIN else None
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
        """The next request and its reply; None if there is no usable reply."""
        request = _with_errors(request, part, self._offered)
        try:
            reply = await self._send(request, self._attempt)
        except BackendError as error:
            self._note(f"the model could not be asked again: {error.record[:200]}")
            return None
        if reply.status >= 400 or reply.dialect:
            self._note(f"the model could not be asked again: status {reply.status}")
            return None
        self._note("the error was sent to the model, which was asked again")
        return request, reply

    def _end(
        self, part: _Round, failed: Mapping[str, ServerTool], written: int, *, empty: bool
    ) -> Iterable[StreamEvent]:
        """The last events. If the model says nothing after a failure, the message for the user is
        added."""
        assert part.delta is not None
        if not failed:
            yield part.delta
            yield event("message_stop")
            return
        delta = dict(as_object(part.delta.data.get("delta")))
        if part.continues or empty:
            words = [tool.message(name, self._attempt.target) for name, tool in failed.items()]
            yield from part.added({"type": "text", "text": " ".join(words)})
            delta |= {"stop_reason": "end_turn", "stop_sequence": None}
        usage = {**part.usage, "output_tokens": written}
        rest = {k: v for k, v in part.delta.data.items() if k not in {"type", "delta", "usage"}}
        yield event("message_delta", delta=delta, usage=usage, **rest)
        yield event("message_stop")


async def _events_of(reply: Reply) -> AsyncIterator[StreamEvent]:
    """The events of a reply; those of its stream if it is complete."""
    if not reply.is_stream:
        for item in replay(reply.parsed):
            yield item
        return
    source: AsyncIterable[StreamEvent] = reply.decoded()
    async for item in source:
        yield item


def _with_errors(
    request: MessagesRequest, part: _Round, offered: Mapping[str, ServerTool]
) -> MessagesRequest:
    """The request with the reply and an error result for each failed call."""
    results = [
        {
            "type": "tool_result",
            "tool_use_id": identifier,
            "is_error": True,
            "content": offered[name].model_message(name),
        }
        for identifier, name in part.failed
    ]
    messages = [
        *as_list(request.body.get("messages")),
        {"role": "assistant", "content": part.said},
        {"role": "user", "content": results},
    ]
    return request.replace(messages=messages, because="the model gets the error of its call")


def _arguments(text: str) -> dict[str, Any]:
    """Arguments of a call; empty if they are not a JSON object, because the call fails anyway."""
    try:
        return as_object(orjson.loads(text)) if text else {}
    except orjson.JSONDecodeError:
        return {}


def _tokens(usage: Mapping[str, Any]) -> int:
    count = usage.get("output_tokens")
    return count if isinstance(count, int) else 0
