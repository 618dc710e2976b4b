"""How much JSON is taken, and how much work is done at once: nothing may hold the loop for long.

A limit on bytes is not enough: 30 MB of `[]` are ten million values, and parsing holds the
interpreter, in whatever thread it is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import anyio.lowlevel
import anyio.to_thread
import orjson

from plugway.types.errors import BackendProtocolError, RequestRejected
from plugway.types.json import MAX_DEPTH

MAX_VALUES: Final = 100_000
"""JSON values that a request may hold, or an answer, or one event of it. A conversation of a
million tokens has about half of it, the longest answer of a model a fifth."""
MAX_ESCAPES: Final = 4 * 2**20
"""Backslashes that a request may hold: they cost most of all that stands in a text."""
MAX_DIGITS: Final = 16 * 2**20
"""Digits that a request may hold; a sixth of a large image are digits."""
MAX_ANSWER_DEPTH: Final = MAX_DEPTH - 40
"""Containers inside containers that an answer may have: it is written within others."""
HEAVY_VALUES: Final = 5_000
"""Above it the work on a request is done in steps, between which the loop goes on."""
HEAVY_BYTES: Final = 2**20
"""The same in bytes of the body."""

TOGETHER: Final = 256
"""Events that are collected before the loop goes on."""

_SLICE: Final = 2**20
_STEP: Final = 61
_TEXT: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)

T = TypeVar("T")


def marks(raw: bytes) -> int:
    """How often `,`, `[` and `{` stand in JSON bytes, texts included: never less than its values,
    but for one."""
    return len(raw) - len(raw.translate(None, b",[{"))


def about(raw: bytes) -> int:
    """Nearly `marks(raw)`, for a fiftieth of its cost: counting takes longer than parsing does, so
    bytes are looked at in steps that fit no pattern."""
    return _STEP * marks(raw[::_STEP])


async def check_values(raw: bytes) -> None:
    """Raises `RequestRejected` where a body holds more values, escapes or digits than may be parsed
    at once; marks within texts are no values."""
    if len(raw) <= MAX_VALUES or (len(raw) <= _SLICE and about(raw) < MAX_VALUES // 2):
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
            message = f"the body holds more than {most} {what} - start a new conversation"
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
            piece = piece[:-1]  # what a backslash escapes stays with it
        at += len(piece)
        # A quote more closes a text that goes on, and is left over where there is none.
        left = _TEXT.sub(b"", (b'"' if inside else b"") + piece + b'"')
        inside = not left.endswith(b'"')
        yield marks(left)


def check_answer(raw: bytes) -> None:
    """Raises `BackendProtocolError` where bytes of an upstream hold too many values to be parsed,
    or are nested too deeply to be written again; marks within texts count as values too, for that
    is far beyond what models write."""
    if len(raw) > MAX_VALUES and sum(_slices(raw, marks)) > MAX_VALUES:
        raise BackendProtocolError(f"the answer holds more than {MAX_VALUES} JSON values")
    if is_deep(raw):
        raise BackendProtocolError(f"the answer is nested more than {MAX_ANSWER_DEPTH} levels deep")


def is_deep(raw: bytes) -> bool:
    """Whether JSON bytes are nested more than `MAX_ANSWER_DEPTH` levels deep."""
    if len(raw) <= MAX_ANSWER_DEPTH or raw.count(b"[") + raw.count(b"{") <= MAX_ANSWER_DEPTH:
        return False
    try:
        value: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False  # whoever reads it says so
    for _ in range(MAX_DEPTH - MAX_ANSWER_DEPTH):
        value = [value]
    try:
        orjson.dumps(value)
    except TypeError:
        return True
    return False


def is_heavy(raw: bytes) -> bool:
    """Whether the work on a request with this body is to be done in steps."""
    return len(raw) > HEAVY_BYTES or (len(raw) > HEAVY_VALUES and about(raw) > HEAVY_VALUES)


async def breath(heavy: bool) -> None:
    """Let the loop go on before more work on a request or an answer that is `heavy`."""
    if heavy:
        await anyio.lowlevel.checkpoint()


async def aside(heavy: bool, work: Callable[[], T]) -> T:
    """What `work` returns or raises; where it is `heavy`, done in a thread while the loop goes on.

    For work in Python on values that nobody changes meanwhile. Parsing is no such work: it holds
    the interpreter.
    """
    return await anyio.to_thread.run_sync(work) if heavy else work()
