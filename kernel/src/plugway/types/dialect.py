"""Another API in front of the gateway, as a plugin speaks it.

The inner language is the Messages API; how an exchange is run in a dialect is in `exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from plugway.types.events import StreamEvent
from plugway.types.request import Original


@runtime_checkable
class DialectEncoder(Protocol):
    """Writes one answer in a dialect. One is made per exchange, so it may count and remember."""

    def event(self, event: StreamEvent) -> bytes:
        """What the client is sent for one event of the Messages API; empty for nothing."""
        ...

    def message(self, message: Mapping[str, Any]) -> bytes:
        """The whole answer, for a client that did not ask for a stream."""
        ...

    def error(self, status: int, error: Mapping[str, Any], *, streaming: bool) -> bytes:
        """A failure: the body of an answer with `status`, or an event of a stream that has begun.

        `error` has the `type` and `message` of the Messages API's envelope.
        """
        ...


@runtime_checkable
class NotesLosses(Protocol):
    """An encoder that says what of the answer its API has no words for."""

    unsaid: Sequence[str]
    """Lines for the receipt, read when the answer is written."""


@runtime_checkable
class Dialect(Protocol):
    """Another API in front of every backend."""

    @property
    def name(self) -> str:
        """What a backend that speaks it too calls it, such as `acme-chat`."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The paths whose POST requests it takes."""
        ...

    @property
    def statuses(self) -> Mapping[int, int]:
        """Statuses of the Messages API that it tells as another, such as 529 as 503."""
        ...

    def decode(self, original: Original) -> Mapping[str, Any]:
        """The body of the Messages request that asks for the same; what is lost on the way goes to
        `original.notes`.

        Raises `RequestRejected` where there is none.
        """
        ...

    def encoder(self, original: Original) -> DialectEncoder:
        """The encoder of the answer. `original.body` is empty where the request was refused before
        it was decoded."""
        ...
