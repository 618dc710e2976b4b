"""Reads a request body completely, within limits on size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.types import Message, Receive

from plugway.types.cancel import Resumed
from plugway.types.errors import InvalidRequest, PlugwayError, RequestRejected

LARGE_BODY = 8 * 2**20


class ClientGone(PlugwayError):
    """The client closed the connection before its request was complete."""


def check_length(length: bytes | None, max_bytes: int) -> int:
    """The declared length, or 0. Raises `RequestRejected` if it is invalid or too large."""
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 18:
        raise InvalidRequest("`content-length` must be one decimal number")
    declared = int(length)
    if declared > max_bytes:
        raise too_large(max_bytes)
    return declared


def too_large(max_bytes: int) -> RequestRejected:
    """The error for a body that is larger than `max_bytes`."""
    message = f"request body is larger than {max_bytes} bytes"
    # The connection cannot be reused, because the rest of the body is not read.
    close = {"connection": "close"}
    return RequestRejected(message, status=413, headers=close, retry=False, record=True)


async def read_body(
    scope: Mapping[str, Any],
    receive: Receive,
    *,
    max_bytes: int,
    deadline_seconds: float = 30,
    floor_bytes_per_second: float = 16 * 1024,
) -> bytes:
    """Read the whole request body; bodies over 8 MiB are read one at a time.

    Raises `RequestRejected` (413, 408) and `ClientGone`. Every `floor_bytes_per_second` bytes
    received extend the deadline by a second.
    """
    length = dict(scope["headers"]).get(b"content-length")
    reader = _BodyReader(receive, max_bytes, deadline_seconds, floor_bytes_per_second)
    if check_length(length, max_bytes) > LARGE_BODY or not await reader.read_until(LARGE_BODY):
        async with scope.get("plugway.large_bodies") or anyio.Lock():
            await reader.read_until(max_bytes)
    return b"".join(reader.chunks)


@dataclass(slots=True)
class _BodyReader:
    receive: Receive
    max_bytes: int
    seconds: float
    floor: float
    size: int = 0
    chunks: list[bytes] = field(default_factory=list[bytes])
    limit: asyncio.Timeout | None = None

    async def read_until(self, size: int) -> bool:
        """Read until the body ends (True) or exceeds `size` bytes (False)."""
        self.limit = None
        reading = self._read_until(size)
        try:
            waits_for = reading.send(None)  # most bodies have already arrived and need no timer
        except StopIteration as read:
            return read.value
        try:
            async with asyncio.timeout(self.seconds) as self.limit:
                return await Resumed(reading, waits_for)
        except TimeoutError:
            message = f"request body stopped or was too slow after {self.size} bytes"
            close = {"connection": "close"}
            raise RequestRejected(
                message, status=408, type="timeout_error", headers=close, record=True
            ) from None

    async def _read_until(self, size: int) -> bool:
        before, moved = self.size, 0.0
        while self._take(await self.receive()):
            if self.size > size:
                return False
            if self.limit is not None and (when := self.limit.when()) is not None:
                earlier, moved = moved, (self.size - before) / self.floor
                self.limit.reschedule(when + moved - earlier)
        return True

    def _take(self, message: Message) -> bool:
        if message["type"] == "http.disconnect":
            raise ClientGone("the client disconnected before its request was complete")
        body = message.get("body", b"")
        self.size += len(body)
        if self.size > self.max_bytes:
            raise too_large(self.max_bytes)
        self.chunks.append(body)
        return message.get("more_body", False)
