"""What is remembered of the pieces of requests: a client sends its whole conversation each time.

JSON text is cut at places that do not move when it grows at its end, so that only what is new has
to be looked at. Hashes and results are kept; texts only of the last few requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from re import Pattern
from typing import Final, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")

PIECE_BYTES: Final = 4096
"""Least size of a piece, but for the last one."""
_MOST_LAST: Final = 6
"""Members whose marks are kept for the next plugin that asks: those of a few requests."""
_MOST_PIECES: Final = 4096
"""Twice as many results are kept, of some 16 MB of text at least."""


def pieces(data: bytes) -> Iterable[bytes]:
    """JSON text, cut before a `{` here and there: no piece ends inside what has no `{` in it."""
    at, length = 0, len(data)
    while at < length:
        end = data.find(b"{", at + PIECE_BYTES)
        end = length if end < 0 else end
        yield data[at:end]
        at = end


class Remembered(Generic[T]):
    """The results of a pure function of a piece, by the hash of the piece."""

    def __init__(self, measure: Callable[[bytes], T]) -> None:
        self._measure = measure
        self._newer: dict[tuple[int, int], T] = {}
        self._older: dict[tuple[int, int], T] = {}

    def of(self, data: bytes) -> list[T]:
        """The result for each piece of `data`."""
        return [self._of(piece) for piece in pieces(data)]

    def _of(self, piece: bytes) -> T:
        key = (hash(piece), len(piece))  # with a key of this process
        found = self._newer.get(key, ...)
        if found is ...:
            found = self._older.get(key, ...)
            if found is ...:
                found = self._measure(piece)
            if len(self._newer) >= _MOST_PIECES:  # what was not used for so long is forgotten
                self._older, self._newer = self._newer, {}
            self._newer[key] = found
        return found


class HasMembers(Protocol):
    """A request, as far as marks are looked for in it."""

    @property
    def heavy(self) -> bool:
        """Whether it is so large that it is not looked at more closely than necessary."""
        ...

    @property
    def raw(self) -> bytes:
        """Its bytes."""
        ...

    @property
    def fields(self) -> Set[str]:
        """The names of its members."""
        ...

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The bytes of a member; None if it is small or was edited."""
        ...


class Mark:
    """Bytes that tell a plugin whether it has to look at a request at all.

    All marks are looked for together, once for each request and for what its conversation repeats.
    """

    def __init__(self, *any_of: bytes | Pattern[bytes]) -> None:
        """One of `any_of` must be found. None may contain a `{`, where text is cut."""
        self._patterns = any_of
        self._bit = _MARKS.add(self)

    def is_in(self, data: bytes) -> bool:
        """Whether these bytes have it."""
        for pattern in self._patterns:
            if pattern in data if isinstance(pattern, bytes) else pattern.search(data):
                return True
        return False

    def may_be_in(self, request: HasMembers, *names: str) -> bool:
        """Whether one of these members of a request may have it."""
        for name in names:
            data = request.unparsed(name)
            if data is None:  # small, edited or missing
                if name in request.fields and self.is_in(request.raw):
                    return True
            elif request.heavy or memoryview(data).nbytes <= PIECE_BYTES:
                if self.is_in(bytes(data)):
                    return True
            elif _MARKS.within(data) & self._bit:
                return True
        return False


class _Marks:
    """All marks, and what has been found of them."""

    def __init__(self) -> None:
        self._all: tuple[Mark, ...] = ()
        self._known = Remembered(self._found)
        self._last: tuple[tuple[msgspec.Raw, int], ...] = ()
        """The members that were looked at last; replaced, because threads may read it."""

    def add(self, mark: Mark) -> int:
        """The bit of a new mark; what was found before is forgotten."""
        self._all = (*self._all, mark)
        self._known, self._last = Remembered(self._found), ()
        return 1 << (len(self._all) - 1)

    def within(self, data: msgspec.Raw) -> int:
        """The bits of the marks in a member of a request."""
        for seen, bits in self._last:
            if seen is data:
                return bits
        bits, known = 0, self._known
        for found in known.of(bytes(data)):
            bits |= found
        if known is self._known:  # otherwise another thread has added a mark
            self._last = ((data, bits), *self._last[: _MOST_LAST - 1])
        return bits

    def _found(self, piece: bytes) -> int:
        return sum(1 << at for at, mark in enumerate(self._all) if mark.is_in(piece))


_MARKS: Final = _Marks()
