"""Relays an event stream to a client of the same API: extracts the data of each event, for any
chunking, to see the end of the reply and its usage.

Event names are not needed, because each event's JSON contains its type. (WHATWG HTML, "Parsing an
event stream".)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import orjson

from plugway import (
    BackendProtocolError,
    MessagesRequest,
    Original,
    StreamInterrupted,
    as_object,
)
from plugway_wire.bounds import check_answer
from plugway_wire.gather import MAX_EVENT_BYTES

_BOM: Final = b"\xef\xbb\xbf"
"""May precede the first line, and cannot begin another one with a field."""
_PIECES: Final = 4096
_LINE: Final = 64
"""Overhead counted for each line."""


def is_unchanged(original: Original, request: MessagesRequest) -> bool:
    """Whether plugins changed no more than the model's name, the output limit, and fields that the
    client did not send."""
    changed = {change.field for change in request.changes} - {"model", "max_tokens"}
    return not changed or changed <= original.made_up


class RelayedApi(Protocol):
    """What a relay needs to know of an API."""

    def is_end(self, data: bytes) -> bool:
        """Whether a stream may end after an event with this data."""
        ...

    def usage(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The Messages API's `usage` for a response or an event."""
        ...


class Rewriter(Protocol):
    """Rewrites a relayed reply where no client of the API could read it."""

    def feed(self, chunk: bytes) -> bytes:
        """The client's bytes for the next ones of a stream."""
        ...

    def flush(self) -> bytes:
        """The bytes that are held back, at the end of a stream."""
        ...

    def whole(self, body: bytes) -> bytes:
        """The client's bytes for a complete response."""
        ...


class Watcher(Protocol):
    """Sees every event of a relayed reply."""

    def feed(self, data: bytes) -> None:
        """Process an event's data."""
        ...


class Payloads:
    """Splits bytes into the data of events. Comments, names and ids are ignored."""

    __slots__ = ("_lines", "_rest", "_size")

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        """Pieces of an incomplete line."""
        self._lines: list[bytes] = []
        self._size = 0
        """Size of the incomplete event in bytes."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of all events completed by `chunk`.

        Raises:
            BackendProtocolError: an event exceeds `MAX_EVENT_BYTES`, or contains too many
                values.
        """
        self._size += len(chunk)
        if b"\n" not in chunk:
            if self._size > MAX_EVENT_BYTES:
                raise _too_long()
            self._rest.append(chunk)
            if len(self._rest) > _PIECES:
                self._rest = [b"".join(self._rest)]
            return []
        whole = b"".join((*self._rest, chunk))
        self._rest.clear()
        pieces = whole.split(b"\n")
        del whole
        self._rest = [pieces.pop()]
        found: list[bytes] = []
        for line in pieces:
            line = line[:-1] if line.endswith(b"\r") else line
            line = line.removeprefix(_BOM)
            if line.startswith(b"data:"):
                self._lines.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and self._lines:
                found.append(b"\n".join(self._lines))
                check_answer(found[-1])
                self._lines = []
        self._size = len(self._rest[0]) + sum(len(line) + _LINE for line in self._lines)
        if self._size > MAX_EVENT_BYTES:
            raise _too_long()
        return found

    def flush(self) -> list[bytes]:
        """Return the data of a last event that lacks the blank line after it."""
        found = self.feed(b"\n\n")
        self._rest = []
        return found


class RawChunks:
    """Relays a stream's bytes to a client of the same API, rewritten where it could not read them.

    Raises `StreamInterrupted` if they end before the reply does (`RelayedApi.is_end`).
    """

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        api: RelayedApi,
        required: Watcher | None = None,
        rewriter: Rewriter | None = None,
        *,
        member: bytes = b'"usage"',
    ) -> None:
        """`required`, if given, receives every event; `member` is the one that has the usage."""
        self._chunks = chunks
        self._rewriter = rewriter
        self._api = api
        self._member = member
        self._demand = required
        self._payloads = Payloads()
        self._ended = False
        self._telling = b""

    def __aiter__(self) -> RawChunks:
        """Iterate over the chunks in order."""
        return self

    async def __anext__(self) -> bytes:
        """The next chunk."""
        rewriter = self._rewriter
        while (chunk := await anext(self._chunks, None)) is not None:
            self._note(self._payloads.feed(chunk))
            if sent := chunk if rewriter is None else rewriter.feed(chunk):
                return sent
        if rewriter is not None and (rest := rewriter.flush()):
            return rest
        self._note(self._payloads.flush())
        if not self._ended:
            raise StreamInterrupted("the upstream ended its stream before the reply was complete")
        raise StopAsyncIteration

    def usage(self) -> Mapping[str, Any]:
        """The usage in the last event that has one; only that event is parsed."""
        return usage_in(self._telling, self._api)

    def _note(self, payloads: list[bytes]) -> None:
        for data in payloads:
            if self._member in data:
                self._telling = data
            if self._demand is not None:
                self._demand.feed(data)
            self._ended = self._ended or self._api.is_end(data)


def usage_in(data: bytes, api: RelayedApi) -> Mapping[str, Any]:
    """The Messages API's `usage` of a response or event; empty if `data` is not JSON."""
    try:
        return api.usage(as_object(orjson.loads(data)))
    except orjson.JSONDecodeError:
        return {}


def _too_long() -> BackendProtocolError:
    return BackendProtocolError(f"an event of more than {MAX_EVENT_BYTES} bytes")
