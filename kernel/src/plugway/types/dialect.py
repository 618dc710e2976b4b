"""Protocols of dialects: other APIs for clients, which plugins translate to the Messages API.

`exchange/dialect` serves exchanges in a dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from plugway.types.request import Original
from plugway_wire.events import StreamEvent


@runtime_checkable
class DialectEncoder(Protocol):
    """Writes one reply in a dialect. One is created per exchange, so it may keep state."""

    def event(self, event: StreamEvent) -> bytes:
        """The bytes to send for one event of the Messages API; may be empty."""
        ...

    def message(self, message: Mapping[str, Any]) -> bytes:
        """The whole reply, for a client that did not request a stream."""
        ...

    def error(self, status: int, error: Mapping[str, Any], *, streaming: bool) -> bytes:
        """A failure: the body of a reply with `status`, or an event of a stream that has begun.

        `error` has the `type` and `message` of a Messages API error; `retry_after` is that header.
        """
        ...


@dataclass(frozen=True, slots=True)
class Deferred:
    """A Messages request that is decoded only when more than a few fields are needed."""

    known: Mapping[str, Any]
    """`model` and `stream`, which are available without decoding."""
    decode: Callable[[], Mapping[str, Any]]


@runtime_checkable
class NotesLosses(Protocol):
    """An encoder that reports what its API cannot express."""

    unsaid: Sequence[str]
    """Lines for the receipt, read after the reply was written."""


@runtime_checkable
class Dialect(Protocol):
    """An API that clients may use with every backend."""

    @property
    def name(self) -> str:
        """Its name, such as `acme-chat`; backends that speak it too use the same."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """The paths of its POST requests. `{model}` in a path matches any text, including slashes;
        `Original.path` has the requested path."""
        ...

    @property
    def statuses(self) -> Mapping[int, int]:
        """Statuses of the Messages API that it replaces, such as 529 by 503."""
        ...

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """The body of the equivalent Messages request; report losses in `original.notes`. It may be
        `Deferred`, because a backend of the same API does not need it.

        Raises `RequestRejected` if there is none.
        """
        ...

    def encoder(self, original: Original) -> DialectEncoder:
        """The encoder of the reply. `original.body` is empty if the request was rejected before it
        was decoded; a `Deferred` request may turn out to be invalid."""
        ...


@runtime_checkable
class CountsTokens(Protocol):
    """A dialect for counting tokens: no inference is run, and the encoder's message is
    `{"input_tokens": ...}`."""

    @property
    def counts_tokens(self) -> bool:
        """Whether its requests count tokens."""
        ...


@runtime_checkable
class KeyInQuery(Protocol):
    """A dialect whose clients may send the gateway's token in the query."""

    @property
    def key_places(self) -> Sequence[tuple[str, str]]:
        """Path prefixes where that is allowed, each with the name of the query parameter."""
        ...


@runtime_checkable
class FramesStreams(Protocol):
    """An encoder whose stream is not a `text/event-stream`."""

    @property
    def content_type(self) -> str:
        """The media type of its stream; empty for `text/event-stream`."""
        ...

    @property
    def ping(self) -> bytes:
        """Bytes to send while the client waits; the client must ignore them."""
        ...
