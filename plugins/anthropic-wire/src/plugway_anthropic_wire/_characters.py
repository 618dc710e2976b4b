"""Joins characters that a server splits over two events of a Messages API stream.

Other events keep their bytes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson

from plugway import BackendProtocolError, as_object
from plugway_translation import SurrogateJoiner, may_have_surrogates
from plugway_upstream_errors import WrappedChunks
from plugway_wire.gather import MAX_EVENT_BYTES

_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n")
_DATA: Final = re.compile(rb"^data: ?([^\r\n]*)", re.MULTILINE)
_BLANK_LINES: Final = (b"\n\n", b"\n\r\n", b"\r\r")


class JoinedCharacters(WrappedChunks):
    """A server's chunks, each ending after an event. The owner of the chunks closes them."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        super().__init__(chunks)
        self._surrogates = SurrogateJoiner()
        self._rest: list[bytes] = []
        """Pieces of an incomplete event."""
        self._size = 0
        self._over = False

    def __aiter__(self) -> JoinedCharacters:
        """Iterate over the chunks in order."""
        return self

    async def __anext__(self) -> bytes:
        """The next events. Raises `BackendProtocolError` if one is too long."""
        while not self._over:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self._over = True
                events, self._rest = b"".join(self._rest), []
                last = b"".join(map(_encoded, self._surrogates.flush()))
                whole = self._joined(events) + last
            else:
                whole = self._joined(self._complete(chunk))
            if whole:
                return whole
        raise StopAsyncIteration

    def _complete(self, chunk: bytes) -> bytes:
        """The events completed by `chunk`, which usually ends with one."""
        if not self._rest and chunk.endswith(_BLANK_LINES):
            return chunk
        tail = self._rest[-1][-3:] if self._rest else b""
        near = tail + chunk
        end = max(at + len(mark) if (at := near.rfind(mark)) >= 0 else 0 for mark in _BLANK_LINES)
        if end <= len(tail):
            self._size += len(chunk)
            if self._size > MAX_EVENT_BYTES:
                raise BackendProtocolError(f"an event of more than {MAX_EVENT_BYTES} bytes")
            self._rest.append(chunk)
            return b""
        cut = end - len(tail)
        whole = b"".join((*self._rest, chunk[:cut])) if self._rest or cut < len(chunk) else chunk
        self._rest = [chunk[cut:]] if cut < len(chunk) else []
        self._size = len(chunk) - cut
        return whole

    def _joined(self, events: bytes) -> bytes:
        if not self._surrogates.waiting and not may_have_surrogates(events):
            return events
        pieces, left = events_in(events)
        return b"".join((*map(self._one, pieces), left))

    def _one(self, event: bytes) -> bytes:
        payload = payload_of(event)
        if not payload or not (self._surrogates.waiting or may_have_surrogates(payload)):
            return event
        try:
            values = self._surrogates.feed(payload)
        except orjson.JSONDecodeError:
            return event  # the parser of the event reports the error
        try:
            same = values == [orjson.loads(payload)]
        except orjson.JSONDecodeError:
            same = False
        return event if same else b"".join(map(_encoded, values))


def events_in(chunk: bytes) -> tuple[list[bytes], bytes]:
    """The complete events, and the start of the next one."""
    events, start = list[bytes](), 0
    for end in _END.finditer(chunk):
        events.append(chunk[start : end.end()])
        start = end.end()
    return events, chunk[start:]


def payload_of(event: bytes) -> bytes:
    """The data of an event."""
    return b"\n".join(_DATA.findall(event))


def encoded(data: Mapping[str, Any]) -> bytes:
    """Encode an event."""
    return b"event: %b\ndata: %b\n\n" % (str(data.get("type")).encode(), orjson.dumps(data))


def _encoded(value: Any) -> bytes:
    """Encode an event; empty for a delta without content."""
    fields = as_object(value)
    delta = as_object(fields.get("delta"))
    texts = [delta[name] for name in ("text", "thinking", "partial_json") if name in delta]
    if fields.get("type") == "content_block_delta" and texts == [""]:
        return b""
    return encoded(fields)
