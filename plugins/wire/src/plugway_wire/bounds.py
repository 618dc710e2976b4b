"""Limits on the size of JSON, and helpers that keep large work from blocking the event loop.

A limit on bytes is not enough: 30 MB of `[]` are ten million values, and parsing holds the GIL even
in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import anyio.lowlevel
import anyio.to_thread
import orjson

from plugway_wire.errors import BackendProtocolError, RequestRejected
from plugway_wire.json import WRITABLE_DEPTH, fits, opens_more

MAX_VALUES: Final = 100_000
"""Most JSON values in a request, a response, or an event. A conversation of a million tokens has
about half of that, the longest reply of a model a fifth."""
MAX_ESCAPES: Final = 4 * 2**20
"""Most backslashes in a request: they are the most expensive part of a string."""
MAX_DIGITS: Final = 16 * 2**20
"""Most digits in a request; a sixth of a large image is digits."""
MAX_ANSWER_DEPTH: Final = WRITABLE_DEPTH - 40
"""Most nested containers in a response, which is later written into others."""
HEAVY_VALUES: Final = 5_000
"""Values above which work on a request is split into steps that yield to the event loop."""
HEAVY_BYTES: Final = 2**20
"""The same in bytes of the body."""

TOGETHER: Final = 256
"""Events that are collected before yielding to the event loop."""

_SLICE: Final = 2**20
_STEP: Final = 61
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

T = TypeVar("T")


def marks(raw: bytes) -> int:
    """The number of `,`, `[` and `{` in JSON bytes, including strings: an upper bound for the
    number of values minus one."""
    return len(raw) - len(raw.translate(None, b",[{"))


def estimated_marks(raw: bytes) -> int:
    """An estimate of `marks(raw)` from every 61st byte, at a fiftieth of the cost; counting all
    takes longer than parsing."""
    return _STEP * marks(raw[::_STEP])


async def check_values(raw: bytes) -> None:
    """Raise `RequestRejected` if a body has more values, escapes or digits than may be parsed at
    once; marks within strings do not count as values."""
    if len(raw) <= 2 * MAX_VALUES:  # a value takes two bytes: with its comma, or as `[]`
        return
    if len(raw) <= _SLICE and estimated_marks(raw) < MAX_VALUES // 2:
        return
    if len(raw) > MAX_ESCAPES:
        await _limited(_slices(raw, lambda piece: piece.count(b"\\")), MAX_ESCAPES, "escapes")
        await _limited(_slices(raw, _digits), MAX_DIGITS, "digits")
    try:
        await _limited(_slices(raw, marks), MAX_VALUES, "JSON values")
    except RequestRejected:
        await _limited(_marks_between_texts(raw), MAX_VALUES, "JSON values")


async def _limited(counts: Iterable[int], most: int, what: str) -> None:
    found = 0
    for count in counts:
        found += count
        if found > most:
            message = f"the body contains more than {most} {what} - start a new conversation"
            raise RequestRejected(message, status=413, type="request_too_large")
        await anyio.lowlevel.checkpoint()


def _slices(raw: bytes, count: Callable[[bytes], int]) -> Iterator[int]:
    for at in range(0, len(raw), 4 * _SLICE):
        yield count(raw[at : at + 4 * _SLICE])


def _digits(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, b"0123456789"))


def _marks_between_texts(raw: bytes) -> Iterator[int]:
    at, inside = 0, False
    while at < len(raw):
        piece = raw[at : at + _SLICE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2 and len(piece) > 1:
            piece = piece[:-1]  # do not separate a backslash from what it escapes
        at += len(piece)
        # The added quote closes an unfinished string, or remains if there is none.
        left = _TEXT.sub(b"", (b'"' if inside else b"") + piece + b'"')
        inside = not left.endswith(b'"')
        yield marks(left)


def check_answer(raw: bytes) -> None:
    """Raise `BackendProtocolError` if an upstream's bytes have too many values to be parsed, or are
    nested too deeply to be serialized again. Marks within strings count as values too: the limit is
    far above what models write."""
    if len(raw) > MAX_VALUES and sum(_slices(raw, marks)) > MAX_VALUES:
        raise BackendProtocolError(f"the response contains more than {MAX_VALUES} JSON values")
    if is_deep(raw):
        raise BackendProtocolError(f"the response is nested more than {MAX_ANSWER_DEPTH} levels")


def is_deep(raw: bytes) -> bool:
    """Whether JSON bytes are nested more than `MAX_ANSWER_DEPTH` levels deep."""
    if not opens_more(raw, MAX_ANSWER_DEPTH):
        return False
    try:
        return not fits(orjson.loads(raw), MAX_ANSWER_DEPTH)
    except orjson.JSONDecodeError:
        return False  # the parser reports it


def is_heavy(raw: bytes) -> bool:
    """Whether work on a request with this body must be split into steps."""
    return len(raw) > HEAVY_BYTES or (
        len(raw) > 2 * HEAVY_VALUES and estimated_marks(raw) > HEAVY_VALUES
    )


async def breath(heavy: bool) -> None:
    """Yield to the event loop if the request or reply is `heavy`."""
    if heavy:
        await anyio.lowlevel.checkpoint()


async def aside(heavy: bool, work: Callable[[], T]) -> T:
    """Call `work`, in a thread if it is `heavy`.

    For Python code on values that do not change meanwhile. It does not help for parsing, which
    holds the GIL.
    """
    return await anyio.to_thread.run_sync(work) if heavy else work()
