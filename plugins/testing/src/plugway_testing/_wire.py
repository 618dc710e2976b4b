"""Parses and checks bytes on the wire: server-sent events, chunked bodies, the order of a stream.

Independent of the kernel's decoder, so that a bug there is not hidden here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias, cast

JsonObject: TypeAlias = dict[str, Any]
"""A parsed JSON object. `Any` so that a test can write `data["delta"]["text"]`."""

Event: TypeAlias = tuple[str, JsonObject]
"""One server-sent event: its name and its parsed data."""

DONE: Final[Event] = ("done", {})
"""The result of `parse_sse` for the `data: [DONE]` line that ends an OpenAI stream."""

_DELTAS: Final[dict[str, frozenset[str]]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "tool_use": frozenset({"input_json_delta"}),
    "server_tool_use": frozenset({"input_json_delta"}),
    "mcp_tool_use": frozenset({"input_json_delta"}),
    "compaction": frozenset({"compaction_delta"}),
    "redacted_thinking": frozenset(),
    "fallback": frozenset(),
}


def parse_sse(data: bytes) -> list[Event]:
    """Parse an event stream into (event, data) pairs.

    Follows the HTML standard: byte order mark, all three line endings, comments, several `data:`
    lines in one event. An event without its blank line is omitted, so a truncated stream shows only
    what a client would have seen. Raises `ValueError` for data that is not a JSON object, except
    `[DONE]`, which becomes `DONE`.

    >>> parse_sse(b'event: ping\\ndata: {"type": "ping"}\\n\\n')
    [('ping', {'type': 'ping'})]
    """
    text = data.decode("utf-8").removeprefix("\ufeff")
    events: list[Event] = []
    name, lines = "message", list[str]()
    for line in _lines(text):
        if line == "":
            if lines:
                events.append(_event(name, "\n".join(lines)))
            name, lines = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            lines.append(value)
    return events


def _lines(text: str) -> list[str]:
    # Not `str.splitlines`, which also splits at U+2028 and others that are legal in JSON.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1]  # the text after the last line ending is incomplete


def _event(name: str, data: str) -> Event:
    if data == "[DONE]":
        return DONE
    value: object = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"event `{name}`: its data is not a JSON object: {data[:200]!r}")
    return name, cast(JsonObject, value)


def assert_valid_stream(events: Iterable[Event], *, complete: bool = True) -> None:
    """Fail unless the events are a legal Anthropic stream; name the first illegal event.

    `complete=False` also accepts the start of a legal stream, e.g. a truncated one; it may then end
    with an `error` event. Undocumented event names are legal between the first and the last event,
    as are unknown kinds of blocks, and `ping` anywhere before the end.

    >>> assert_valid_stream(parse_sse(response.body))
    """
    rules = _StreamRules()
    for position, (name, data) in enumerate(events):
        try:
            rules.feed(name, data)
        except AssertionError as problem:
            raise AssertionError(f"event {position} (`{name}`): {problem}; data: {data}") from None
    if complete:
        if rules.phase == "failed":
            raise AssertionError("the stream ended in an `error` event")
        if rules.phase != "stopped":
            raise AssertionError("the stream ended without `message_stop`")


class _StreamRules:
    """The documented order of a stream as a state machine; raises `AssertionError`."""

    def __init__(self) -> None:
        self.phase = "new"  # new, started, stopped, failed
        self.blocks = 0
        self.stop_reason: object = None
        self.open: _OpenBlock | None = None

    def feed(self, name: str, data: JsonObject) -> None:
        _require(self.phase not in ("stopped", "failed"), f"nothing may follow: {self.phase}")
        _require(data.get("type") == name, f"`data.type` is {data.get('type')!r}")
        if name == "ping":
            return
        if name == "error":
            _require(isinstance(data.get("error"), dict), "`error` is not an object")
            self.phase = "failed"
            return
        if name == "message_start":
            self._message_start(data)
            return
        _require(self.phase == "started", "comes before `message_start`")
        if name in ("content_block_start", "content_block_delta", "content_block_stop"):
            self._block_event(name, data)
        elif name == "message_delta":
            self._message_delta(data)
        elif name == "message_stop":
            self._message_stop()

    def _message_start(self, data: JsonObject) -> None:
        _require(self.phase == "new", "a second `message_start`")
        message: Any = data.get("message")
        _require(isinstance(message, dict), "`message` is not an object")
        for key in ("id", "model"):
            _require(isinstance(message.get(key), str), f"`message.{key}` is not a string")
        _require(message.get("type") == "message", "`message.type` is not 'message'")
        _require(message.get("role") == "assistant", "`message.role` is not 'assistant'")
        _require(message.get("content") == [], "`message.content` is not an empty list")
        for key in ("stop_reason", "stop_sequence"):
            _require(key in message, f"`message.{key}` is missing")
            _require(message[key] is None, f"`message.{key}` is not null")
        _require_usage(message.get("usage"), "input_tokens", "output_tokens")
        self.phase = "started"

    def _block_event(self, name: str, data: JsonObject) -> None:
        _require(self.stop_reason is None, "a block event after `message_delta`")
        index = data.get("index")
        if name == "content_block_start":
            _require(self.open is None, "a block is still open")
            _require(index == self.blocks, f"index {index!r}, expected {self.blocks}")
            self.open = _OpenBlock(data.get("content_block"))
            self.blocks += 1
            return
        block = self.open
        if block is None:
            raise AssertionError("no block is open")
        _require(index == self.blocks - 1, f"index {index!r}, but {self.blocks - 1} is open")
        if name == "content_block_delta":
            block.delta(data.get("delta"))
        else:
            block.stop()
            self.open = None

    def _message_delta(self, data: JsonObject) -> None:
        _require(self.open is None, "a block is still open")
        delta: Any = data.get("delta")
        _require(isinstance(delta, dict), "`delta` is not an object")
        _require_usage(data.get("usage"), "output_tokens")
        self.stop_reason = delta.get("stop_reason") or self.stop_reason

    def _message_stop(self) -> None:
        _require(self.open is None, "a block is still open")
        _require(isinstance(self.stop_reason, str), "no `message_delta` with a `stop_reason`")
        empty = self.blocks == 0 and self.stop_reason == "end_turn"
        _require(not empty, "no content at all, but the stop reason is 'end_turn'")
        self.phase = "stopped"


class _OpenBlock:
    """One content block from its start to its stop."""

    def __init__(self, start: Any) -> None:
        _require(isinstance(start, dict), "`content_block` is not an object")
        kind = start.get("type")
        _require(isinstance(kind, str), "`content_block.type` is not a string")
        self.kind: str = kind
        self.text = str(start.get("text", ""))
        self.input = ""
        self.signed = bool(start.get("signature"))
        self.is_call = _DELTAS.get(kind) == _DELTAS["tool_use"]
        if self.is_call:
            for key in ("id", "name"):
                _require(bool(start.get(key)), f"`content_block.{key}` is missing or empty")
            _require(start.get("input") == {}, "`content_block.input` is not {}")

    def delta(self, delta: Any) -> None:
        _require(isinstance(delta, dict), "`delta` is not an object")
        kind = delta.get("type")
        legal = _DELTAS.get(self.kind)
        if self.kind.endswith("_tool_result"):
            legal = frozenset[str]()
        _require(legal is None or kind in legal, f"{kind!r} in a block of type {self.kind!r}")
        if kind == "text_delta":
            self.text += _string(delta, "text")
        elif kind == "input_json_delta":
            self.input += _string(delta, "partial_json")
        elif kind in ("thinking_delta", "signature_delta"):
            _require(not self.signed, f"{kind!r} after the signature")
            if kind == "signature_delta":
                _require(bool(_string(delta, "signature")), "an empty signature")
                self.signed = True
            else:
                _string(delta, "thinking")

    def stop(self) -> None:
        _require(self.kind != "text" or self.text != "", "a text block without text")
        _require(self.kind != "thinking" or self.signed, "thinking ends without a signature")
        if self.is_call and self.input:
            try:
                value: object = json.loads(self.input)
            except ValueError:
                raise AssertionError(f"tool input is not JSON: {self.input[:200]!r}") from None
            _require(isinstance(value, dict), f"tool input is not an object: {self.input[:200]!r}")


def _string(delta: JsonObject, key: str) -> str:
    value = delta.get(key)
    if not isinstance(value, str):
        raise AssertionError(f"`delta.{key}` is not a string")
    return value


def _require_usage(usage: Any, *keys: str) -> None:
    _require(isinstance(usage, dict), "`usage` is not an object")
    for key in keys:
        count = usage.get(key)
        _require(type(count) is int and count >= 0, f"`usage.{key}` is {count!r}")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise AssertionError(problem)


class ChunkedDecoder:
    """Decodes a chunked body piece by piece, strictly.

    `done` is True after the final chunk and the trailer; `rest` holds the bytes after them. A
    malformed chunk raises `ValueError`.

    >>> decoder = ChunkedDecoder()
    >>> decoder.feed(b"5\\r\\nhello\\r\\n0\\r\\n\\r\\n"), decoder.done
    (b'hello', True)
    """

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._buffer = bytearray()
        self._missing = 0  # bytes missing in the open chunk, including its line ending
        self._trailer = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the connection; return the body bytes in them."""
        self._buffer += data
        body = bytearray()
        while not self.done and self._buffer:
            if not (self._chunk_data(body) if self._missing else self._line()):
                break
        if self.done:
            self.rest += bytes(self._buffer)
            self._buffer.clear()
        return bytes(body)

    def _chunk_data(self, body: bytearray) -> bool:
        available = min(len(self._buffer), self._missing - 2)
        if available > 0:
            body += self._buffer[:available]
            del self._buffer[:available]
            self._missing -= available
        if self._missing > 2 or len(self._buffer) < 2:
            return False
        if bytes(self._buffer[:2]) != b"\r\n":
            raise ValueError(f"a chunk does not end in CR LF but in {bytes(self._buffer[:2])!r}")
        del self._buffer[:2]
        self._missing = 0
        return True

    def _line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._trailer:
            self.done = line == b""
            return True
        size = line.partition(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            raise ValueError(f"a chunk size is not hexadecimal: {line[:80]!r}")
        length = int(size, 16)
        self._trailer = length == 0
        self._missing = length + 2 if length else 0
        return True
