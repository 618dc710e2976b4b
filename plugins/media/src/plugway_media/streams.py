"""A response that is sent while an engine works, and cancels the work when the client leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from plugway import RequestRejected

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

        failure: RequestRejected | None = None
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()

            group.start_soon(watch)
            try:
                await self._produce(write)
                await write(b"")
            except RequestRejected as error:  # raised below, outside of the group
                failure = error
            group.cancel_scope.cancel()
        if failure is not None:
            if not started or self._last_words is None:
                raise failure
            await write(self._last_words(failure))
        if started:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
