"""One recorded turn: what is kept of a request and its reply, without credentials.

Nothing of a reply is kept but its tool calls and its numbers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from plugway import (
    EventStream,
    Exchange,
    MessagesRequest,
    Outcome,
    PlugwayError,
    StreamEvent,
    as_list,
    as_object,
    collected,
)
from plugway_endpoints import is_formatted
from plugway_log import redact

_HEADERS: Final = ("anthropic-beta", "anthropic-version", "user-agent", "x-app")
"""Headers that are kept; a replay sends the first two."""
SENT_AGAIN: Final = _HEADERS[:2]
Call = Mapping[str, Any]
"""`name` and `input` of a tool call."""


@dataclass(slots=True)
class Taken:
    """A turn of a conversation that is recorded, while it runs."""

    request: MessagesRequest
    at: float = field(default_factory=time.time)
    message: Mapping[str, Any] | None = None
    """The reply, if it is not streamed."""
    events: list[StreamEvent] = field(default_factory=list[StreamEvent])


class Observed:
    """Passes a stream on, and keeps its events."""

    def __init__(self, stream: EventStream, taken: Taken) -> None:
        self._stream = aiter(stream)
        self._taken = taken

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """The events of the stream."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        item = await anext(self._stream)
        if item.type != "ping":
            self._taken.events.append(item)
        return item

    async def aclose(self) -> None:
        """Do nothing: the kernel closes every layer."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that has ended, before it is written."""

    key: tuple[str, str]
    taken: Taken
    facts: Mapping[str, Any]

    def content(self) -> bytes:
        """What is kept of it. Takes some milliseconds per 100 KB, so call it in a thread."""
        request, redacted = self.taken.request, Redaction()
        original = request.original
        kept: dict[str, Any] = {
            "at": self.taken.at,
            "headers": {n: v for n in _HEADERS if (v := request.header(n)) is not None},
            "query": redact(request.query),
            "body": redacted.of(request.body),
            "original": original
            and {
                "dialect": original.dialect,
                "path": original.path,
                "body": redacted.of(original.parsed),
            },
            **self.facts,
        }
        message = self.taken.message
        if message is None:
            try:
                message = collected(self.taken.events)
            except PlugwayError:  # the client left, or the stream was cut
                message = {}
        kept["calls"] = redacted.of(calls_of(message))
        kept["stop_reason"] = message.get("stop_reason")
        return orjson.dumps({**kept, "redacted": redacted.count})


class Redaction:
    """Copies values without the credentials in their texts, as in the log."""

    def __init__(self) -> None:
        self.count = 0
        """Texts that had one."""

    def of(self, value: Any) -> Any:
        """A copy of a JSON value."""
        if isinstance(value, str):
            clean = redact(value)
            self.count += clean != value
            return clean
        if isinstance(value, Mapping):
            return {name: self.of(inner) for name, inner in as_object(value).items()}
        return [self.of(item) for item in as_list(value)] if isinstance(value, list) else value


def facts_of(exchange: Exchange, outcome: Outcome) -> Mapping[str, Any]:
    """What is kept of an exchange besides its contents."""
    usage, served = outcome.usage, exchange.served_by
    return {
        "request_id": exchange.id,
        "agent": exchange.agent_id,
        "model": exchange.model_asked,
        "target": served.target if served else None,
        "zone": served.backend.zone if served else None,
        "seconds": round(outcome.seconds, 3),
        "first_content_seconds": outcome.first_content_seconds,
        "usage": usage._asdict(),
    }


def calls_of(message: Mapping[str, Any]) -> Sequence[Call]:
    """The calls of the client's tools in a message."""
    blocks = map(as_object, as_list(message.get("content")))
    return [
        {"name": block.get("name"), "input": block.get("input")}
        for block in blocks
        if block.get("type") == "tool_use"
    ]


class Shape(NamedTuple):
    """What tells a turn of a conversation from a client's own request."""

    agent: bool
    """A subagent's."""
    tools: bool
    """It offers tools that the client runs."""
    formatted: bool
    """It asks for a reply format, as clients do for titles."""

    def kind(self, tools: bool) -> str:
        """`turn`, `agent` or `side`; `tools` says whether any turn of the conversation has some."""
        if self.formatted or (tools and not self.tools):
            return "side"
        return "agent" if self.agent else "turn"


def shape_of(turn: Mapping[str, Any]) -> Shape:
    """The shape of a recorded turn."""
    body = as_object(turn.get("body"))
    tools = any("input_schema" in as_object(tool) for tool in as_list(body.get("tools")))
    return Shape(bool(turn.get("agent")), tools, is_formatted(body))


def summary_of(number: int, turn: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
    """A turn as JSON-ready data, without any text."""
    names = ("at", "agent", "model", "target", "zone", "seconds", "usage", "stop_reason")
    return shape_of(turn), {
        "number": number,
        **{name: turn.get(name) for name in (*names, "redacted")},
        "messages": len(as_list(as_object(turn.get("body")).get("messages"))),
        "calls": [as_object(call).get("name") for call in as_list(turn.get("calls"))],
    }
