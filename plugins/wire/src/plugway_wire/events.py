"""Stream events of the Messages API, which keep their original bytes.

`sse` decodes them from bytes; `emitter` makes valid streams.

Order of events (`lib/streaming/_messages.py` of the `anthropic` SDK): `message_start`, then per
block `content_block_start`, any `content_block_delta`, `content_block_stop`, then `message_delta`
and `message_stop`; `ping` anywhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final, Protocol, runtime_checkable

import orjson

from plugway_log import bytes_without_secrets
from plugway_wire.arguments import is_json, object_text, whole_escapes
from plugway_wire.bounds import TOGETHER, breath, check_answer, is_deep
from plugway_wire.errors import BackendProtocolError, StreamInterrupted
from plugway_wire.gather import Gathered, width
from plugway_wire.json import as_list, as_object, written
from plugway_wire.reason import reason_of
from plugway_wire.shape import wrong_in_event

CUT_REASONS: Final = frozenset(
    ("max_tokens", "model_context_window_exceeded", "stop_sequence", "refusal", "pause_turn")
)
"""Each `stop_reason` with which a message may end inside a tool call."""
MAX_MESSAGE: Final = 8 * 2**20
"""Largest message in bytes that is collected from a stream."""
MAX_BLOCKS: Final = 10_000
"""Most content blocks of one message."""
_PIECE: Final = 64 * 1024
"""Characters per delta when a finished message is replayed."""
_NO_END: Final = "the stream ended without `message_stop`"
_CAUSES: Final = {
    "max_tokens": " by the output limit",
    "model_context_window_exceeded": " by the end of the context window",
}


class StreamEvent:
    """One event: its `type`, its `data` (parsed on first use) and its original bytes."""

    __slots__ = ("_data", "_payload", "raw", "type")

    def __init__(
        self,
        type_: str,
        data: Mapping[str, Any] | None = None,
        *,
        raw: bytes | None = None,
        payload: bytes = b"",
    ) -> None:
        """Create it from `data`; decoders pass `raw` and `payload` (the joined data lines)."""
        self.type = type_
        self.raw = raw
        self._data = data
        self._payload = payload

    @property
    def data(self) -> Mapping[str, Any]:
        """The JSON object of the event. Read-only; make a new event to change it.

        Raises:
            BackendProtocolError: the upstream's data is not a JSON object, is far too large, or is
                invalid for an event of that type (`wrong_in_event`).
        """
        if self._data is None:
            check_answer(self._payload)
            try:
                parsed: Any = orjson.loads(self._payload) if self._payload else {}
            except orjson.JSONDecodeError as error:
                what = f"the data of an event is not valid JSON: {error.msg}"
                raise BackendProtocolError(what) from None
            if not isinstance(parsed, dict):
                raise BackendProtocolError("the data of an event is not an object")
            if wrong := wrong_in_event(self.type, as_object(parsed)):
                raise BackendProtocolError(f"invalid value of `{wrong}` in a `{self.type}` event")
            self._data = as_object(parsed)
            self._payload = b""
        return self._data

    def encode(self) -> bytes:
        """The event as SSE bytes; the original ones if it came from an upstream."""
        if self.raw is not None:
            return self.raw
        return b"event: %b\ndata: %b\n\n" % (self.type.encode(), orjson.dumps(self.data))

    def __repr__(self) -> str:
        return f"<StreamEvent {self.type}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StreamEvent):
            return NotImplemented
        return self.type == other.type and self.data == other.data

    __hash__ = None  # type: ignore[assignment]  # equal by value, and the value is a dict


def event(type_: str, **data: Any) -> StreamEvent:
    """Create an event: `event("content_block_stop", index=0)`. The data includes its `type`."""
    return StreamEvent(type_, {"type": type_, **data})


PING = event("ping")


@runtime_checkable
class EventStream(Protocol):
    """A stream of events that owns resources: iterate it once, and close it."""

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """The events, in order."""
        ...

    async def aclose(self) -> None:
        """Release the stream's resources; safe to call twice and at any time."""
        ...


async def collect(events: AsyncIterable[StreamEvent]) -> dict[str, Any]:
    """Collect a whole stream into a message, for a client that did not request a stream.

    A tool call that was cut off (`CUT_REASONS`) is omitted.

    Raises:
        StreamInterrupted: the stream has an error event or ended without `message_stop`.
        BackendProtocolError: the events are out of order, the arguments of a call are not JSON, or
            the message is longer than `MAX_MESSAGE`.
    """
    message, count = _Message(), 0
    async for item in events:
        if message.add(item):
            return message.message
        count += 1
        await breath(count % TOGETHER == 0)
    raise StreamInterrupted(_NO_END)


def collected(events: Iterable[StreamEvent]) -> dict[str, Any]:
    """`collect` for an iterable of events."""
    message = _Message()
    for item in events:
        if message.add(item):
            return message.message
    raise StreamInterrupted(_NO_END)


class _Message:
    """A message that grows by events."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self._texts: dict[int, dict[str, Gathered]] = {}
        """The text of unfinished blocks, by index and member."""
        self._broken: dict[int, str] = {}
        """Calls with invalid arguments, and the reason; empty for missing ones."""
        self._size = 0

    def add(self, item: StreamEvent) -> bool:
        """Apply one event; returns whether it was the last."""
        data, type_ = item.data, item.type
        if type_ == "message_start":
            self.message = {**data["message"], "content": []}
        elif type_ == "error":
            raise interrupted(data)
        elif not self.message:
            if type_ != "ping":
                raise BackendProtocolError("an event arrived before `message_start`")
        elif type_ == "message_stop":
            self._omit_cut_calls()
            return True
        else:
            self._apply(type_, data)
        return False

    def _apply(self, type_: str, data: Mapping[str, Any]) -> None:
        content: list[dict[str, Any]] = self.message["content"]
        if type_ == "content_block_start":
            if len(content) >= MAX_BLOCKS:
                raise BackendProtocolError(f"the message has more than {MAX_BLOCKS} blocks")
            content.append(dict(data["content_block"]))
        elif type_ == "content_block_delta":
            self._delta(_index(data, content, "a delta"), as_object(data.get("delta")))
        elif type_ == "content_block_stop":
            self._finish(_index(data, content, "`content_block_stop`"))
        elif type_ == "message_delta":
            self._end(data)

    def _end(self, data: Mapping[str, Any]) -> None:
        message = self.message
        message.update(as_object(data.get("delta")))
        usage = {k: v for k, v in as_object(data.get("usage")).items() if v is not None}
        message["usage"] = {**as_object(message.get("usage")), **usage}
        message.update({k: v for k, v in data.items() if k not in {"type", "delta", "usage"}})

    def _delta(self, index: int, delta: Mapping[str, Any]) -> None:
        block: dict[str, Any] = self.message["content"][index]
        match delta.get("type"):
            case "text_delta":
                self._gather(index, "text", delta["text"])
            case "thinking_delta":
                self._gather(index, "thinking", delta["thinking"])
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "input_json_delta":
                self._gather(index, "input", delta.get("partial_json") or "")
            case "citations_delta":
                block["citations"] = as_list(block.get("citations"))
                block["citations"].append(delta["citation"])
            case "compaction_delta":
                self._gather(index, "content", delta.get("content") or "")
            case _:
                pass

    def _gather(self, index: int, member: str, piece: str) -> None:
        self._size += width(piece)
        if self._size > MAX_MESSAGE:
            large = f"the message is longer than {MAX_MESSAGE} bytes"
            raise BackendProtocolError(large, permanent=True)
        texts = self._texts.setdefault(index, {})
        if member not in texts:
            call = member == "input"
            what = f"the arguments of the tool call in block {index}" if call else "a block"
            texts[member] = Gathered(what)
        texts[member].add(piece)

    def _finish(self, index: int) -> None:
        block: dict[str, Any] = self.message["content"][index]
        texts = self._texts.pop(index, {})
        arguments = texts.pop("input", None)
        for member, gathered in texts.items():
            block[member] = (block.get(member) or "") + gathered.text()
        if arguments is not None and (text := arguments.text()):
            self._take_input(index, block, text)
        elif block.get("type") == "tool_use":
            given: Any = block.get("input")
            if given in (None, "", {}):
                block["input"], self._broken[index] = {}, ""
            elif not isinstance(given, dict):
                self._take_input(index, block, orjson.dumps(given).decode())

    def _take_input(self, index: int, block: dict[str, Any], text: str) -> None:
        text = whole_escapes(text)
        found = object_text(text)
        if found is not None and is_deep(found.encode()):
            self._broken[index] = "are nested too deeply"
        elif found is not None:
            block["input"] = orjson.loads(found)
        else:
            self._broken[index] = f"are not {'a JSON object' if is_json(text) else 'valid JSON'}"

    def _omit_cut_calls(self) -> None:
        """Remove tool calls that were cut off."""
        message = self.message
        content: list[dict[str, Any]] = message["content"]
        for index in sorted(self._texts):
            self._finish(index)  # a block that was never closed
        cut = message.get("stop_reason") in CUT_REASONS
        for index, wrong in self._broken.items():
            if wrong and not cut:
                raise BackendProtocolError(f"the arguments of the call in block {index} {wrong}")
        # A call without arguments is complete if another block follows it.
        cut_off = {
            i for i, wrong in self._broken.items() if cut and (wrong or i + 1 == len(content))
        }
        if not cut_off:
            return
        message["content"] = [b for i, b in enumerate(content) if i not in cut_off]
        if not any(b.get("type") in ("text", "tool_use") for b in message["content"]):
            name = str(content[min(cut_off)].get("name") or "")
            text = cut_notice(name, message["stop_reason"])
            message["content"].append({"type": "text", "text": text})


def check_inputs(message: Mapping[str, Any]) -> None:
    """Raise `BackendProtocolError` if the input of a call in a whole message is not an object."""
    for index, block in enumerate(map(as_object, as_list(message.get("content")))):
        if block.get("type") == "tool_use" and not isinstance(block.get("input"), dict):
            raise BackendProtocolError(
                f"the arguments of the call in block {index} are not a JSON object"
            )


def _index(data: Mapping[str, Any], content: list[Any], what: str) -> int:
    index = data.get("index")
    if not isinstance(index, int) or not 0 <= index < len(content):
        raise BackendProtocolError(f"{what} names a block that was never started")
    return index


def cut_notice(name: str, stop_reason: str | None) -> str:
    """The text that replaces the only tool call of a message if it was cut off."""
    call = f"The call of `{name[:100]}`" if name else "A tool call"
    cause = _CAUSES.get(stop_reason or "", "")
    return f"[{call} was cut off{cause} before it was complete, and was not made.]"


def interrupted(data: Mapping[str, Any]) -> StreamInterrupted:
    """The exception for the data of an `error` event in a stream."""
    detail = as_object(data.get("error"))
    kind = str(detail.get("type", "api_error"))
    status = {"overloaded_error": 529, "rate_limit_error": 429, "timeout_error": 504}.get(kind, 500)
    if kind in {"invalid_request_error", "authentication_error", "permission_error"}:
        status = {"authentication_error": 401, "permission_error": 403}.get(kind, 400)
    message = reason_of(data.get("error")) or "the stream failed"
    record = f"the stream ended with an error event (status {status})"
    failure = StreamInterrupted(message, status=status, record=record)
    failure.body = bytes_without_secrets(written(data))
    return failure


def renamed(start: StreamEvent, model: str) -> StreamEvent:
    """A copy of a `message_start` with another model."""
    message = {**as_object(start.data.get("message")), "model": model}
    return StreamEvent(start.type, {**start.data, "message": message})


_IN_DELTA: Final = ("stop_details", "container", "safeguard_results")
"""Members of a message that a stream sends in the `delta` of `message_delta`."""
_LATE: Final = frozenset(("stop_details", "context_management", "safeguard_results"))
"""Members that a stream sends only in `message_delta`."""


def replay(message: Mapping[str, Any]) -> Iterator[StreamEvent]:
    """The events of a finished message as a stream; long text is split."""
    usage: Mapping[str, Any] = message.get("usage") or {}
    head = {k: v for k, v in message.items() if k not in _LATE}
    head |= {"content": [], "stop_reason": None, "stop_sequence": None}
    head["usage"] = {**usage, "output_tokens": 0}
    yield event("message_start", message=head)
    for index, block in enumerate(message.get("content") or []):
        yield from replay_block(index, block)
    delta = {k: message.get(k) for k in ("stop_reason", "stop_sequence")}
    delta |= {k: message[k] for k in _IN_DELTA if k in message}
    extra = {k: message[k] for k in ("context_management",) if k in message}
    yield event("message_delta", delta=delta, usage=dict(usage), **extra)
    yield event("message_stop")


async def replayed(message: Mapping[str, Any]) -> AsyncIterator[StreamEvent]:
    """`replay` as a stream."""
    for item in replay(message):
        yield item


def _text_deltas(member: str, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    text = block.get(member) or ""
    for at in range(0, len(text) or 1, _PIECE):
        yield {"type": f"{member}_delta", member: text[at : at + _PIECE]}


def replay_block(index: int, block: Mapping[str, Any]) -> Iterator[StreamEvent]:
    """The events of one finished content block; long text is split."""
    start = dict(block)
    deltas: Iterable[dict[str, Any]] = ()
    match block.get("type"):
        case "text":
            start["text"] = ""
            given = start.pop("citations", None) or ()
            cited = ({"type": "citations_delta", "citation": c} for c in given)
            deltas = chain(cited, _text_deltas("text", block))
        case "thinking":
            start |= {"thinking": "", "signature": ""}
            signature = block.get("signature")
            signed = ({"type": "signature_delta", "signature": signature},) if signature else ()
            deltas = chain(_text_deltas("thinking", block), signed)
        case "tool_use" | "server_tool_use":
            start["input"] = {}
            given: Any = block.get("input")
            arguments = "{}" if given in (None, "") else orjson.dumps(given).decode()
            deltas = ({"type": "input_json_delta", "partial_json": arguments},)
        case _:
            pass
    yield event("content_block_start", index=index, content_block=start)
    for delta in deltas:
        yield event("content_block_delta", index=index, delta=delta)
    yield event("content_block_stop", index=index)
