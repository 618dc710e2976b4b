"""Why a request failed. The messages have the place, the reason and the fix."""

from __future__ import annotations

from plugway_log import Recorded


class ClientError(Recorded):
    """A request failed."""

    def __init__(self, message: str, *, permanent: bool = False, record: str = "") -> None:
        """`permanent` means that a retry cannot help. A message with text of the server needs a
        `record` for the log."""
        super().__init__(message)
        self.permanent = permanent
        self._record = record

    @property
    def record(self) -> str:
        """See `Recorded.record`."""
        return self._record or str(self)


class Unreachable(ClientError):
    """No connection, or it was lost before the head of a response."""

    untrusted = False
    """The server, or the proxy, could not prove its identity."""


class ConnectionLost(Unreachable):
    """A connection was lost before the head of a response."""

    begun = False
    """Some bytes of the head had arrived."""


class InvalidResponse(ClientError):
    """The response is not HTTP."""


class Incomplete(ClientError):
    """A response ended early."""


def untrusted(peer: str, reason: str) -> Unreachable:
    """The error for a `peer` whose identity cannot be verified."""
    error = Unreachable(f"{peer} {reason}", permanent=True)
    error.untrusted = True
    return error
