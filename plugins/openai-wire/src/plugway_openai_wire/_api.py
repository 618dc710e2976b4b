"""The interface between the backend and an API: translates requests, and reads responses as
Messages API events. Implemented by `chat` and `responses`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plugway import Attempt, MessagesRequest, Original, StreamEvent
from plugway_anthropic_wire import Rewriter
from plugway_capabilities import Facts
from plugway_openai_wire._carried import Carried
from plugway_translation import IdCodec, Notes


class Reader(Protocol):
    """Reads one response. Not called again once it has `ended`."""

    @property
    def ended(self) -> bool:
        """Whether `message_stop` was returned."""
        ...

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """Return the events for one event of the server's stream.

        Raises:
            StreamInterrupted: the server reports a failure.
            BackendProtocolError: the event violates the server's protocol.
        """
        ...

    def end(self) -> list[StreamEvent]:
        """Return the last events, after the stream ended or broke off.

        Raises:
            StreamInterrupted: the stream broke off before the server reported its end.
        """
        ...

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """Return all events of a non-streaming response. Raises like `feed` and `end`."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One Messages request, translated for the API."""

    body: Mapping[str, Any]
    """The body to send."""
    notes: Notes
    """What could not be translated."""
    reader: Callable[[], Reader]
    """Creates a reader for one response."""


class Api(Protocol):
    """One of the two APIs."""

    @property
    def dialect(self) -> str:
        """The dialect of clients that use this API: `openai-chat` or `openai-responses`."""
        ...

    @property
    def path(self) -> str:
        """The path of requests below the base URL, e.g. `/chat/completions`."""
        ...

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """Translate the request for this attempt. Raises `RequestRejected` if it cannot be sent."""
        ...

    def carried(self, request: MessagesRequest) -> Carried:
        """What the client's own request says that the Messages API lacks and this server has."""
        ...

    def ids(self, facts: Facts) -> IdCodec | None:
        """The codec for call ids that the server requires; None if it has no known requirement."""
        ...

    def accepts_original(self, original: Original, facts: Facts) -> bool:
        """Whether the server is not known to reject the client's own conversation.

        Ids are not checked. The conversation is not decoded.
        """
        ...

    def rewriter(self, note: Callable[[str], None]) -> Rewriter | None:
        """A rewriter for one relayed reply; None if all servers send what the API defines."""
        ...

    def is_end(self, data: bytes) -> bool:
        """Whether a stream may end after an event with this data."""
        ...

    def usage(self, data: Mapping[str, Any]) -> Mapping[str, int]:
        """The Messages API's `usage` for a response or an event; zeros if it has none."""
        ...
