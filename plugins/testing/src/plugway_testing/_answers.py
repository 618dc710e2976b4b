"""Responses of a scripted upstream: steps, and builders for complete responses.

A script is a list of steps. It holds no connection and no state, so one script can serve any number
of requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeAlias

from plugway_testing._wire import Event, JsonObject


class Waitable(Protocol):
    """`anyio.Event`, `asyncio.Event`, or any object with such a `wait` method."""

    async def wait(self) -> object: ...


@dataclass(frozen=True)
class Sleep:
    """Send nothing for this many seconds."""

    seconds: float


@dataclass(frozen=True)
class WaitFor:
    """Send nothing until the event is set. Makes sleeps in tests unnecessary."""

    event: Waitable


@dataclass(frozen=True)
class Cut:
    """Close the connection (FIN) at this point: a chunked body lacks its final chunk."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection (RST), as a killed process does."""


@dataclass(frozen=True)
class Hold:
    """Send nothing and keep the connection open until the peer closes it."""


Step: TypeAlias = bytes | Sleep | WaitFor | Cut | Reset | Hold
Script: TypeAlias = Sequence[Step]
Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
ToolCall: TypeAlias = tuple[str, Mapping[str, object]]
"""Name and input of a tool call."""

SIGNATURE: Final = "c2lnbmVkLWJ5LXRoZS1zY3JpcHRlZC11cHN0cmVhbQ=="
"""The signature of thinking blocks built here."""


def respond(status: int, content: object = b"", headers: Headers = ()) -> list[Step]:
    """Respond with a complete body: bytes unchanged, anything else as JSON.

    >>> respond(200, anthropic_message("Hello."))
    >>> respond(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"})
    """
    given = _pairs(headers)
    names = {name.lower() for name, _ in given}
    if isinstance(content, bytes):
        body = content
    else:
        body = json.dumps(content, ensure_ascii=False).encode()
        if "content-type" not in names:
            given.insert(0, ("content-type", "application/json"))
    if "content-length" not in names and "transfer-encoding" not in names:
        given.append(("content-length", str(len(body))))
    return [_head(status, given) + body]


def sse(
    events: Iterable[Event | Step],
    *,
    status: int = 200,
    headers: Headers = (),
    delay: float = 0.0,
    chunked: bool = True,
    chunk_sizes: Sequence[int] | None = None,
    end: Step | None = None,
) -> list[Step]:
    """Respond with an event stream.

    Bytes and steps between the events stay in place: `[*events[:3], Sleep(1), *events[3:]]` stalls
    after the third. `delay` is the pause before every event but the first, in seconds. Each event
    is one chunk; `chunk_sizes` cuts at these sizes instead, repeatedly, even within an event or a
    character. `end` replaces the final chunk: `sse(events[:4], end=Cut())` breaks off after the
    fourth event. Without `chunked`, the end of the connection ends the body.

    >>> sse(anthropic_stream("Hello."), chunk_sizes=[1])
    """
    given = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
    given += _pairs(headers)
    given.append(("transfer-encoding", "chunked") if chunked else ("connection", "close"))
    script: list[Step] = [_head(status, given)]
    pieces: list[Step] = [_encode(item) if isinstance(item, tuple) else item for item in events]
    for position, piece in enumerate(_cut_pieces(pieces, chunk_sizes)):
        if not isinstance(piece, bytes):
            script.append(piece)
            continue
        if delay and position:
            script.append(Sleep(delay))
        script.append(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
    script.append(end or (b"0\r\n\r\n" if chunked else Cut()))
    return script


def anthropic_stream(
    text: str | Sequence[str] = "Hello.",
    *,
    tool_calls: Sequence[ToolCall] = (),
    thinking: str | Sequence[str] = "",
    usage: Mapping[str, object] | None = None,
    model: str = "scripted-model",
    stop_reason: str | None = None,
) -> list[Event]:
    """Build the documented events of one Anthropic message: thinking, text, tool calls.

    A string becomes one delta, a sequence of strings one delta each; `text=""` omits the block.
    The stop reason follows from the content unless given.

    >>> sse(anthropic_stream("On it.", tool_calls=[("Read", {"path": "a.txt"})]))
    """
    message = anthropic_message(
        "", tool_calls=tool_calls, usage=usage, model=model, stop_reason=stop_reason
    )
    counts: JsonObject = message["usage"]
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    start: JsonObject = message | {
        "content": [],
        "stop_reason": None,
        "usage": counts | {"output_tokens": 1},
    }
    events: list[Event] = [_typed("message_start", message=start)]
    index = 0
    if thinking:
        block: JsonObject = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [_delta("thinking", piece) for piece in _split(thinking)]
        events += _block(index, block, [*deltas, _delta("signature", SIGNATURE)])
        index += 1
    if text:
        deltas = [_delta("text", piece) for piece in _split(text)]
        events += _block(index, {"type": "text", "text": ""}, deltas)
        index += 1
    for call in message["content"]:
        arguments = json.dumps(call["input"], ensure_ascii=False)
        middle = len(arguments) // 2
        pieces = ("", arguments[:middle], arguments[middle:])
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        events += _block(index, call | {"input": {}}, deltas)
        index += 1
    return [*events, _typed("message_delta", delta=delta, usage=counts), _typed("message_stop")]


def anthropic_message(
    text: str | Sequence[str] = "Hello.",
    *,
    tool_calls: Sequence[ToolCall] = (),
    thinking: str | Sequence[str] = "",
    usage: Mapping[str, object] | None = None,
    model: str = "scripted-model",
    stop_reason: str | None = None,
) -> JsonObject:
    """Build the message that `anthropic_stream` produces with the same arguments.

    >>> respond(200, anthropic_message("Hello."))
    """
    content: list[JsonObject] = []
    if thinking:
        whole = "".join(_split(thinking))
        content.append({"type": "thinking", "thinking": whole, "signature": SIGNATURE})
    if text:
        content.append({"type": "text", "text": "".join(_split(text))})
    for number, (name, arguments) in enumerate(tool_calls, 1):
        call: JsonObject = {"type": "tool_use", "id": f"toolu_{number:04}", "name": name}
        content.append(call | {"input": dict(arguments)})
    return {
        "id": "msg_scripted",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason or ("tool_use" if tool_calls else "end_turn"),
        "stop_sequence": None,
        "usage": dict(usage or {"input_tokens": 10, "output_tokens": 5}),
    }


def anthropic_error(status: int, type: str, message: str, headers: Headers = ()) -> list[Step]:
    """Respond with an error in Anthropic's envelope, including a `request-id` header.

    >>> anthropic_error(529, "overloaded_error", "Overloaded", {"retry-after": "1"})
    """
    body = {
        "type": "error",
        "error": {"type": type, "message": message},
        "request_id": "req_scripted",
    }
    return respond(status, body, [("request-id", "req_scripted"), *_pairs(headers)])


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    if isinstance(headers, Mapping):
        return list(headers.items())
    return list(headers)


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    try:
        reason = HTTPStatus(status).phrase
    except ValueError:
        reason = "Overloaded" if status == 529 else "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _encode(event: Event) -> bytes:
    name, data = event
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


def _cut_pieces(pieces: Iterable[Step], sizes: Sequence[int] | None) -> list[Step]:
    if sizes is None:
        return list(pieces)
    if any(size < 1 for size in sizes) or not sizes:
        raise ValueError(f"`chunk_sizes` must be one or more positive numbers, not {sizes!r}")
    result: list[Step] = []
    turn = 0
    for piece in _joined(pieces):
        if not isinstance(piece, bytes):
            result.append(piece)
            continue
        start = 0
        while start < len(piece):
            size = sizes[turn % len(sizes)]
            result.append(piece[start : start + size])
            start, turn = start + size, turn + 1
    return result


def _joined(pieces: Iterable[Step]) -> list[Step]:
    result: list[Step] = []
    for piece in pieces:
        last = result[-1] if result else None
        if isinstance(piece, bytes) and isinstance(last, bytes):
            result[-1] = last + piece
        else:
            result.append(piece)
    return result


def _split(text: str | Sequence[str]) -> Sequence[str]:
    return [text] if isinstance(text, str) else text


def _typed(name: str, **fields: Any) -> Event:
    return name, {"type": name, **fields}


def _delta(kind: str, value: str) -> JsonObject:
    return {"type": f"{kind}_delta", kind: value}


def _block(index: int, start: JsonObject, deltas: Iterable[JsonObject]) -> list[Event]:
    return [
        _typed("content_block_start", index=index, content_block=start),
        *(_typed("content_block_delta", index=index, delta=delta) for delta in deltas),
        _typed("content_block_stop", index=index),
    ]
