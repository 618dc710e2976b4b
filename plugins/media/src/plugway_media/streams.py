"""Responses while an engine works, and the end of its work when the client leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import anyio
import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from plugway import RequestRejected

T = TypeVar("T")

Write = Callable[[bytes], Awaitable[None]]
Produce = Callable[[Write], Awaitable[None]]
"""Does the work, and passes each piece of the body to its argument."""


class Streamed(Response):
    """Starts with the first piece, so a failure before it is an error response."""

    def __init__(
        self,
        produce: Produce,
        media_type: str,
        *,
        headers: Mapping[str, str] | None = None,
        last_words: Callable[[RequestRejected], bytes] | None = None,
    ) -> None:
        """`last_words` is what a stream ends with that fails after its first piece; without it, the
        connection is cut."""
        super().__init__(media_type=media_type, headers=dict(headers or {}))
        del self.headers["content-length"]
        self._produce = produce
        self._last_words = last_words

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def write(piece: bytes) -> None:
            nonlocal started
            if not started:
                started = True
                head = {"type": "http.response.start", "status": self.status_code}
                await send({**head, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": piece, "more_body": True})

        async def work() -> None:
            await self._produce(write)
            await write(b"")

        try:
            await unless_gone(receive, work)
        except RequestRejected as error:
            if not started or self._last_words is None:
                raise
            await write(self._last_words(error))
        if started:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(receive: Receive, work: Callable[[], Awaitable[T]]) -> T | None:
    """The result of the work; None if the client leaves before, which cancels it. Raises
    `RequestRejected` as the work does."""
    found: list[T] = []
    failures: list[RequestRejected] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            found.append(await work())
        except RequestRejected as error:  # raised below, outside of the group
            failures.append(error)
        group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    return found[0] if found else None


def event_stream(produce: Produce) -> Streamed:
    """Server-sent events in OpenAI's form; a failure after the first is the last of them."""
    headers = {"cache-control": "no-store"}
    return Streamed(produce, "text/event-stream", headers=headers, last_words=_error_event)


def event(data: Mapping[str, object]) -> bytes:
    """One event of such a stream."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _error_event(error: RequestRejected) -> bytes:
    return event({"error": {"type": error.type, "message": error.message}})
