"""Server-sent events: incremental decoding, and scanning a relayed stream without parsing it.

Format: the WHATWG HTML standard, "Server-sent events". `events` has the meaning of events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from plugway_wire.bounds import check_answer
from plugway_wire.errors import BackendProtocolError
from plugway_wire.events import StreamEvent
from plugway_wire.gather import MAX_EVENT_BYTES
from plugway_wire.json import as_object

_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_PLAIN = re.compile(rb"event: ?([a-z_]+)\r?\ndata: ?([^\r\n]*)\r?\n\r?\n")


class Decoder:
    """Decodes chunks of bytes into events, which keep their original bytes.

    Comments and bytes between events belong to the following event, so the joined `raw` of all
    events is the stream. An event whose last `\r\n` was split has both bytes, because another
    event may be written after it.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._split = False
        """The next byte may be the `\n` of a line end that the last event already contains."""
        self._limit = max_event_bytes

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that `chunk` completes.

        Raises:
            BackendProtocolError: an event is larger than the limit.
        """
        buffer = self._buffer
        if self._split and chunk:
            chunk, self._split = chunk.removeprefix(b"\n"), False
        buffer += chunk
        events: list[StreamEvent] = []
        start = 0
        while match := _BLANK_LINE.search(buffer, max(start, self._searched)):
            raw = bytes(buffer[start : match.end()])
            start = self._searched = match.end()
            if start == len(buffer) and raw.endswith(b"\n\r"):
                raw, self._split = raw + b"\n", True
            if decoded := _decode(raw):
                events.append(decoded)
        if start:
            del buffer[:start]
        self._searched = max(0, len(buffer) - 3)
        if len(buffer) > self._limit:
            raise BackendProtocolError(f"an event is larger than {self._limit} bytes")
        return events

    @property
    def pending(self) -> bool:
        """Whether bytes of an unfinished event are held."""
        return bool(self._buffer.strip())


def _decode(raw: bytes) -> StreamEvent | None:
    if plain := _PLAIN.fullmatch(raw):
        return StreamEvent(plain[1].decode(), raw=raw, payload=plain[2])
    name, data = "", list[bytes]()
    for line in _LINE_END.split(raw.removeprefix(b"\xef\xbb\xbf")):
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
    if not name and not data:
        return StreamEvent("", {}, raw=raw) if raw.strip() else None
    payload = b"\n".join(data)
    return StreamEvent(name or _type_in(payload), raw=raw, payload=payload)


def _type_in(payload: bytes) -> str:
    """The `type` in the data, which has the same name: some servers omit the `event:` line."""
    try:
        check_answer(payload)
        parsed: Any = orjson.loads(payload)
    except (BackendProtocolError, orjson.JSONDecodeError):
        return ""
    return str(as_object(parsed).get("type", ""))


class StreamScan:
    """Scans a relayed stream without parsing it: for the first content, the end and the usage.

    It searches for whole `event:` lines, which cannot occur inside JSON text because JSON escapes
    line breaks. Streams of servers that omit these lines must be decoded instead.
    """

    _EVENT = re.compile(
        rb"(?:^|[\r\n])event: ?"
        rb"(message_start|content_block_start|message_delta|message_stop|error)[\r\n]"
    )
    _AFTER_CONTENT = (b"event: m", b"event: e", b"event:m", b"event:e")
    _TAIL = 40  # longer than the longest `event:` line in the search

    def __init__(self) -> None:
        self.started = False
        """A `message_start` was seen."""
        self.content = False
        """The first content event was seen."""
        self.finished = False
        """`message_stop` was seen."""
        self.failed = False
        """An `error` event was seen."""
        self._tail = b"\n"
        self._kept: dict[str, bytes] = {}
        self._keeping = ""

    def feed(self, chunk: bytes) -> None:
        """Scan a chunk."""
        if self._keeping:
            self._keep(chunk)
        window = self._tail + chunk
        self._tail = window[-self._TAIL :]
        if self.content and not any(mark in window for mark in self._AFTER_CONTENT):
            return
        already = len(window) - len(chunk)
        for match in self._EVENT.finditer(window):
            if match.end() > already:
                self._note(match[1], window[match.end() :])

    def _note(self, name: bytes, rest: bytes) -> None:
        if name == b"message_start":
            self.started = True
            self._begin("message_start", rest)
        elif name == b"content_block_start":
            self.content = True
        elif name == b"message_delta":
            self.content = True  # for replies without blocks
            self._begin("message_delta", rest)
        elif name == b"message_stop":
            self.finished = True
        else:
            self.failed = True
            self._begin("error", rest)

    def _begin(self, name: str, rest: bytes) -> None:
        self._keeping = name
        self._kept[name] = b""
        self._keep(rest)

    def _keep(self, chunk: bytes) -> None:
        name = self._keeping
        kept = (self._kept[name] + chunk).lstrip(b"\r\n")
        if end := _LINE_END.search(kept):
            kept = kept[: end.start()]
            self._keeping = ""
        self._kept[name] = kept[:MAX_EVENT_BYTES]

    def data(self, name: str) -> Mapping[str, Any]:
        """The parsed data of the last `message_start`, `message_delta` or `error`, or {}."""
        line = self._kept.get(name, b"")
        try:
            check_answer(line)
            parsed: Any = orjson.loads(line.partition(b":")[2]) if line else {}
        except (BackendProtocolError, orjson.JSONDecodeError):
            return {}
        return as_object(parsed)
