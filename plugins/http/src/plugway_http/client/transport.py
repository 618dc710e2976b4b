"""The interface of transports, which send requests to a server and receive the responses.

`client/pool` is a fast one for direct connections; `client/general` does proxies and HTTP/2.
"""

from __future__ import annotations

from typing import Protocol

from plugway_http.wire import Headers


class TransportResponse(Protocol):
    """The response to one request: its head, and its body as it arrives."""

    status: int
    lines: Headers
    """The headers, with names in lower case."""
    done: bool
    """Everything has arrived."""

    async def read(self, most: int = ...) -> bytes:
        """A piece of the body, up to `most` bytes; empty at the end. Raises `Incomplete`."""
        ...

    def close(self) -> None:
        """Release the response; an unfinished one is aborted at once."""
        ...


class Transport(Protocol):
    """Sends requests to one server."""

    async def send(
        self, method: str, target: str, lines: Headers, body: bytes | None
    ) -> TransportResponse:
        """Send a request; returns the response when its head has arrived. Raises
        `Unreachable`, `InvalidResponse`, or `ValueError` for an invalid header."""
        ...

    async def aclose(self) -> None:
        """Close every connection, including those in use."""
        ...
