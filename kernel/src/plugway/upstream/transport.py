"""The seam between what is asked of a server and how it gets there.

`upstream/pool` asks on plain, fast connections of ours; `upstream/general` by a proxy or in HTTP/2.
"""

from __future__ import annotations

from typing import Protocol

from plugway.types.errors import Headers


class Answer(Protocol):
    """The answer to one request: its head, and its body as it arrives."""

    status: int
    lines: Headers
    """The header lines, names in lower case."""
    done: bool
    """All of it has come."""

    async def take(self, most: int = ...) -> bytes:
        """A piece of the body, up to `most` bytes; empty at its end. Raises `StreamInterrupted`."""
        ...

    def close(self) -> None:
        """Let go of it: one that has not ended is broken off at once."""
        ...


class Transport(Protocol):
    """Asks one server."""

    async def ask(self, method: str, target: str, lines: Headers, body: bytes | None) -> Answer:
        """Send a request; its answer, when the head of that is there. Raises `BackendUnavailable`,
        `BackendProtocolError`, or `ValueError` where a line holds what no line may hold."""
        ...

    async def aclose(self) -> None:
        """Close every connection, whatever it is used for."""
        ...
