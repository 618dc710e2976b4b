"""Streams that begin with an error: found before anything of them is an answer, in any framing.

Servers that have sent the head of an answer can only report a failure inside it: as an `error`
event, as an event without a name (llama.cpp, vLLM), as a line `error:` (llama.cpp before b4000), as
a bare JSON object (proxies), or after a first event that says nothing yet (LM Studio).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from plugway import BackendRefused, StreamInterrupted, as_list, as_object, breath
from plugway_upstream_errors._forms import (
    MAX_OBJECT,
    is_error,
    parsed_object,
    reports_progress,
    status_in,
)

_BLANK_LINES: Final = re.compile(rb"(?>\r\n|\n|\r){2,}")
"""A line end is taken as a whole: `\\r\\n` is never two of them."""
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_LONGEST_END: Final = 3
"""Bytes of the end of an event that may have come without its last one."""
_TAIL: Final = 4096
_BREATH: Final = 2**14
"""Bytes after which others have their turn."""
_UNNAMED: Final = frozenset(("", "message"))
"""`message` is what an event without a name is called."""
_WAITING: Final = frozenset(
    ("message_start", "ping", "response.created", "response.in_progress", "response.queued")
)
"""Events after which nothing of the answer has been said."""


class Resumed:
    """The chunks that were read already, then the others.

    Raises `StreamInterrupted` with the server's words where the last thing it sent is an error
    that has no event of its own.
    """

    def __init__(self, held: list[bytes], chunks: AsyncIterator[bytes]) -> None:
        self._held = held[::-1]
        self.beginning = b"".join(held)
        """What was read to see whether an answer begins."""
        self._chunks = chunks
        self._tail = b""

    def put_before(self, data: bytes) -> None:
        """Have `data` come first."""
        self._held.append(data)

    @property
    def most(self) -> int:
        """The most bytes that are taken at once."""
        return getattr(self._chunks, "most", 0)

    @most.setter
    def most(self, most: int) -> None:
        if hasattr(self._chunks, "most"):
            setattr(self._chunks, "most", most)  # noqa: B010

    def __aiter__(self) -> Resumed:
        """The bytes, in order."""
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
    """The chunks of an event stream from the first byte on, and the body of the error that it
    begins with; empty where there is none.

    Reads up to the first event that is a part of an answer; with `first`, up to the first event.
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
    """Reads events until it is known whether an answer begins or an error."""

    def __init__(self, first: bool) -> None:
        self._first = first
        self._rest = bytearray()
        self._searched = 0
        """Bytes of the rest in which no event ends."""
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
            said = str(value.get("type") or "") if name in _UNNAMED else name
            self.is_known = self._first or not _says_nothing(said, value)


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


def _says_nothing(name: str, value: Mapping[str, Any]) -> bool:
    """Whether an event is before the answer; in Chat Completions the role comes first."""
    if name in _WAITING:
        return True
    if "choices" not in value:
        return reports_progress(value)
    choices = [as_object(choice) for choice in as_list(value.get("choices"))]
    deltas = [as_object(choice.get("delta") or choice.get("message")) for choice in choices]
    said = (item for delta in deltas for key, item in delta.items() if key != "role")
    return not any(said) and not any(choice.get("finish_reason") for choice in choices)


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
