"""Another API in front of the gateway, as a plugin speaks it.

The inner language is the Messages API; how an exchange is run in a dialect is in `exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Deferred:
    """A Messages request that is decoded when somebody asks for more than a few fields of it."""

    known: Mapping[str, Any]
    """`model` and `stream`; a request that has them can be decoded, whatever else it has."""
    decode: Callable[[], Mapping[str, Any]]


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
        """The paths whose POST requests it takes. `{model}` in one stands for any text, slashes
        included: `Original.path` has what was asked for."""
        ...

    @property
    def statuses(self) -> Mapping[int, int]:
        """Statuses of the Messages API that it tells as another, such as 529 as 503."""
        ...

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """The body of the Messages request that asks for the same; what is lost on the way goes to
        `original.notes`. A server of the same API may never need it, so it may be `Deferred`.

        Raises `RequestRejected` where there is none.
        """
        ...

    def encoder(self, original: Original) -> DialectEncoder:
        """The encoder of the answer. `original.body` is empty where the request was refused before
        it was decoded; what was `Deferred` may be none that can be decoded."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A dialect whose requests ask how many tokens they have: no inference is run, and its encoder
    writes `{"input_tokens": ...}`."""

    @property
    def counts_tokens(self) -> bool:
        """Whether they do."""
        ...


@runtime_checkable
class KeyInQuery(Protocol):
    """A dialect whose clients may send the gateway's token in the query of a request."""

    @property
    def key_places(self) -> Sequence[tuple[str, str]]:
        """How the paths begin where that counts, and the name of the parameter."""
        ...


@runtime_checkable
class FramesStreams(Protocol):
    """An encoder whose stream is no `text/event-stream`."""

    @property
    def content_type(self) -> str:
        """The media type of its stream; empty for `text/event-stream`."""
        ...

    @property
    def ping(self) -> bytes:
        """What the client is sent, and skips, while it waits."""
        ...
