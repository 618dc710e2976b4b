"""What the two ends of the gateway share of HTTP/1.1: limits, refusals, and the lines of a head."""

from __future__ import annotations

from dataclasses import dataclass

from plugway.types.errors import Headers


@dataclass(frozen=True, slots=True)
class WireLimits:
    """How much a connection may send before it is understood, and how long it may take."""

    head_bytes: int = 64 * 1024
    head_lines: int = 100
    target_bytes: int = 8 * 1024
    head_seconds: float = 10.0
    """From accept, or from the first byte of a later request, to the end of the head."""
    linger_seconds: float = 5.0
    """How long more input is waited for after an early answer, so that the client can read it."""
    stall_seconds: float = 120.0
    """How long a client may leave what was sent to it unread."""


class WireError(Exception):
    """What arrived is not a request that can be served; the connection ends with `status`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def joined(first: str, lines: Headers) -> bytes:
    """The head that the line `first` and the header `lines` are, with the empty line at its end.

    Raises `ValueError` where one of them holds what no line may hold.
    """
    try:
        head = "\r\n".join([first, *map(": ".join, lines), "\r\n"]).encode("latin-1")
    except UnicodeEncodeError:
        head = b"\0"
    breaks = len(lines) + 2
    if head.count(b"\n") > breaks or head.count(b"\r") > breaks or b"\0" in head:
        raise ValueError("a header line holds what no header may hold")
    return head
