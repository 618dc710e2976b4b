"""What an exchange asks of its server beyond ASGI; and how it does without, behind another server.

ASGI has no word for breaking an answer off, tells of a client that left only to who waits for it,
and takes a whole body and a whole answer in pieces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from plugway.types.errors import Headers, StreamInterrupted


class Channel(Protocol):
    """The way to one client, for one exchange."""

    def whole_body(self) -> bytes | None:
        """The whole body of the request, where all of it is here; None where it is received."""
        ...

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer in one piece. `headers` hold the length."""
        ...

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Have `leave` called if the client leaves; returns what ends that."""
        ...

    def cut(self) -> None:
        """Break the answer off so that the client can tell."""
        ...


class AsgiChannel:
    """A channel over `receive` and `send` alone."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    def whole_body(self) -> bytes | None:
        """None: it has to be received."""
        return None

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer in the two messages that ASGI wants."""
        lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})
        await self._send({"type": "http.response.body", "body": body})

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Wait for the message that says so."""

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            leave()

        return asyncio.get_running_loop().create_task(watch()).cancel

    def cut(self) -> None:
        """Fail: a server breaks the connection where the application fails."""
        raise StreamInterrupted("the stream was aborted")


def channel_of(scope: Scope, receive: Receive, send: Send) -> Channel:
    """The channel that the server of `scope` offers, or one over ASGI."""
    offered: dict[str, Any] = scope.get("extensions") or {}
    found: Channel | None = offered.get("plugway")
    return AsgiChannel(receive, send) if found is None else found
