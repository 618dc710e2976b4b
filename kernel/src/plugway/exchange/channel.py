"""What an exchange needs from its server beyond ASGI, with a fallback for other ASGI servers.

ASGI cannot abort a response, reports a disconnect only to a caller that waits in `receive`, and
splits whole bodies and responses into several messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from plugway.types.errors import Headers, StreamInterrupted


class Channel(Protocol):
    """The connection to the client of one exchange."""

    def whole_body(self) -> bytes | None:
        """The request body if all of it has arrived; None if it must be received."""
        ...

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response. `headers` include the length."""
        ...

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Call `leave` if the client disconnects; returns a function that unregisters it."""
        ...

    def cut(self) -> None:
        """Abort the response so that the client notices."""
        ...


class AsgiChannel:
    """A channel over `receive` and `send` only."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    def whole_body(self) -> bytes | None:
        """None: it must be received."""
        return None

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a complete response in two ASGI messages."""
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body})

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Call `leave` on `http.disconnect`."""

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            leave()

        return asyncio.get_running_loop().create_task(watch()).cancel

    def cut(self) -> None:
        """Raise `StreamInterrupted`: a server closes the connection when the application fails."""
        raise StreamInterrupted("the stream was aborted")


def channel_of(scope: Scope, receive: Receive, send: Send) -> Channel:
    """The channel that the server put into `scope`, or one over ASGI."""
    offered: dict[str, Any] = scope.get("extensions") or {}
    found: Channel | None = offered.get("plugway")
    return AsgiChannel(receive, send) if found is None else found
