"""A stream that one exchange reads and others follow from its start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

from plugway import StreamInterrupted

T = TypeVar("T")


class Memory:
    """Memory limit, in bytes, shared by all recordings."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Reserve `size` more bytes; whether they fit."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def release(self, size: int) -> None:
        """Release `size` bytes."""
        self._left += size


class Recording(Generic[T]):
    """The pieces of `source`, kept as they pass.

    Only the first reader, this object itself, reads from the source: cancelling a follower in the
    middle of a read must not break the stream for the others.
    """

    def __init__(
        self,
        source: AsyncIterator[T],
        size: Callable[[T], int],
        memory: Memory,
    ) -> None:
        """`size` returns the size of a piece in bytes."""
        self._source = source
        self._size = size
        self._memory = memory
        self._pieces: list[T] = []
        self._grown = asyncio.Event()
        self._broken: Exception | None = None
        self.ended = False
        """Whether the stream has ended."""
        self.whole = True
        """Whether all pieces so far are kept, so that it can be followed from its start."""
        self._bytes = 0

    def __aiter__(self) -> Recording[T]:
        return self

    async def __anext__(self) -> T:
        """The next piece. Raises what the source raises."""
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            self.end(None)
            raise
        except Exception as error:
            self.end(error)
            raise
        self._keep(piece)
        return piece

    async def aclose(self) -> None:
        """Does nothing: the kernel closes the reply that owns the source."""

    def end(self, error: Exception | None) -> None:
        """Mark the stream as ended, with `error` if it failed."""
        if not self.ended:
            self.ended = True
            self._broken = error
            self._grown.set()

    def drop(self) -> None:
        """Drop what is kept, and keep nothing more."""
        self._memory.release(self._bytes)
        self._bytes = 0
        self.whole = False
        self._pieces.clear()
        self._grown.set()

    async def follow(self) -> AsyncIterator[T]:
        """All pieces from the first one. Raises the error that ended the stream, if any."""
        at = 0
        while True:
            while at < len(self._pieces):
                yield self._pieces[at]
                at += 1
            if not self.whole:
                raise StreamInterrupted("the reply was too long to be kept for a second client")
            if self.ended:
                if self._broken is not None:
                    raise self._broken
                return
            self._grown.clear()
            await self._grown.wait()

    def _keep(self, piece: T) -> None:
        if not self.whole:
            return
        size = self._size(piece)
        if self._memory.take(size):
            self._bytes += size
            self._pieces.append(piece)
            self._grown.set()
        else:
            self.drop()
