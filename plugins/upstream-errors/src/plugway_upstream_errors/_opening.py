"""Finds an error at the start of a stream, before any of the reply, in any framing.

Once a server has sent the response head, it can only report a failure inside the stream: as an
`error` event, an event without a name (llama.cpp, vLLM), a line `error:` (llama.cpp before b4000),
a bare JSON object (proxies), or after a first event without content (LM Studio).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from plugway import BackendRefused, StreamInterrupted, as_list, as_object
from plugway_upstream_errors._forms import (
    MAX_OBJECT,
    is_error,
    parsed_object,
    reports_progress,
    status_in,
)
from plugway_wire.bounds import breath

_BLANK_LINES: Final = re.compile(rb"(?>\r\n|\n|\r){2,}")
"""Line ends are atomic: `\\r\\n` is never two of them."""
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_LONGEST_END: Final = 3
"""Bytes of an event's end that may have arrived without the last one."""
_TAIL: Final = 4096
_BREATH: Final = 2**14
"""Bytes after which to yield to the event loop."""
_UNNAMED: Final = frozenset(("", "message"))
"""`message` is the default name of an event."""
_WAITING: Final = frozenset(
    ("message_start", "ping", "response.created", "response.in_progress", "response.queued")
)
"""Events before the first content of a reply."""


class WrappedChunks:
    """Base of iterators over an upstream's chunks; passes the limit for each read on to them."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    @property
    def most(self) -> int:
        """Maximum bytes per read."""
        return getattr(self._chunks, "most", 0)

    @most.setter
    def most(self, most: int) -> None:
        if hasattr(self._chunks, "most"):
            setattr(self._chunks, "most", most)  # noqa: B010


class Resumed(WrappedChunks):
    """The chunks that were read already, then the others.

    Raises `StreamInterrupted` with the server's words where the last thing it sent is an error
    that has no event of its own.
    """

    def __init__(self, held: list[bytes], chunks: AsyncIterator[bytes]) -> None:
        super().__init__(chunks)
        self._held = held[::-1]
        self.beginning = b"".join(held)
        """The bytes that were read to find the start of the reply."""
        self._tail = b""

    def put_before(self, data: bytes) -> None:
        """Yield `data` first."""
        self._held.append(data)

    def __aiter__(self) -> Resumed:
        """Iterate over the chunks in order."""
        return self

    async def __anext__(self) -> bytes:
        """The next piece."""
        chunk = self._held.pop() if self._held else await anext(self._chunks, None)
        if chunk is None:
            if error := _error_at_the_end(self._tail):
                refusal = BackendRefused(status_in(error, 500), error)
                raise StreamInterrupted(refusal.message, status=refusal.status)
            raise StopAsyncIteration
        self._tail = chunk if len(chunk) > _TAIL // 4 else (self._tail + chunk)[-_TAIL:]
        return chunk


async def opened(chunks: AsyncIterator[bytes], *, first: bool = False) -> tuple[Resumed, bytes]:
    """The chunks of an event stream from the first byte on, and the body of an error at its start;
    empty if there is none.

    Reads up to the first event of a reply; with `first`, up to the first event.
    Raises what `chunks` raises.
    """
    held, start, unbroken = list[bytes](), _Start(first), 0
    while not start.is_known:
        chunk = await anext(chunks, None)
        if chunk is None:
            start.feed(b"\n\n")
            break
        held.append(chunk)
        start.feed(chunk)
        unbroken += len(chunk)
        if unbroken > _BREATH:
            unbroken = 0
            await breath(True)
    return Resumed(held, chunks), start.error


class _Start:
    """Reads events until it is known whether a reply or an error starts."""

    def __init__(self, first: bool) -> None:
        self._first = first
        self._rest = bytearray()
        self._searched = 0
        """Bytes of the rest that contain no end of an event."""
        self._size = 0
        self.is_known = False
        self.error = b""

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._rest += chunk
        taken = 0
        for end in _BLANK_LINES.finditer(self._rest, self._searched):
            self._take(bytes(self._rest[taken : end.start()]))
            taken = end.end()
            if self.is_known:
                return
        del self._rest[:taken]
        self._searched = max(len(self._rest) - _LONGEST_END, 0)
        self.is_known = self._size > MAX_OBJECT

    def _take(self, block: bytes) -> None:
        name, data, error = _fields(block)
        value = parsed_object(data)
        if error or (error := _error_in(name, data, value, block)):
            self.error, self.is_known = error, True
        elif value is not None:
            kind = str(value.get("type") or "") if name in _UNNAMED else name
            self.is_known = self._first or not _is_empty(kind, value)


def _fields(block: bytes) -> tuple[str, bytes, bytes]:
    """The name of an event, its data, and the rest of a line `error:`."""
    name, data, error = "", list[bytes](), b""
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
        elif field == b"error":
            error = value
    return name, b"\n".join(data), error


def _error_in(name: str, data: bytes, value: Mapping[str, Any] | None, block: bytes) -> bytes:
    if name == "error" and data:
        return data
    if value is not None:
        unknown = name in _UNNAMED or not value.get("type")
        return data if unknown and is_error(value) else b""
    if not name and not data and (bare := parsed_object(block)) is not None and is_error(bare):
        return block
    return b""


def _is_empty(name: str, value: Mapping[str, Any]) -> bool:
    """Whether an event has no content; in Chat Completions, the first one only has the role."""
    if name in _WAITING:
        return True
    if "choices" not in value:
        return reports_progress(value)
    choices = [as_object(choice) for choice in as_list(value.get("choices"))]
    deltas = [as_object(choice.get("delta") or choice.get("message")) for choice in choices]
    content = (item for delta in deltas for key, item in delta.items() if key != "role")
    return not any(content) and not any(choice.get("finish_reason") for choice in choices)


def _error_at_the_end(tail: bytes) -> bytes:
    """An error that is the last thing in a stream and not an `error` event, which is read as such;
    an end mark may follow it."""
    if b"error" not in tail:
        return b""
    blocks = [block for block in _BLANK_LINES.split(tail) if block.strip()]
    while blocks and blocks[-1].strip() == b"data: [DONE]":
        blocks.pop()
    if not blocks:
        return b""
    name, data, error = _fields(blocks[-1])
    return b"" if name else error or _error_in(name, data, parsed_object(data), blocks[-1])
