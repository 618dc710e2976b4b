"""What an API of OpenAI's is to the backend: it makes a request of a Messages request, and reads
the answer as events of the Messages API. `chat` and `responses` implement it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plugway import Attempt, MessagesRequest, Original, StreamEvent
from plugway_capabilities import Facts
from plugway_translation import IdCodec, Notes


class Reader(Protocol):
    """Reads one answer. It is never asked for more after it has `ended`."""

    @property
    def ended(self) -> bool:
        """`message_stop` has been returned."""
        ...

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """The events for one event of the server's stream.

        Raises:
            StreamInterrupted: the server says that it failed.
            BackendProtocolError: the event breaks the server's protocol.
        """
        ...

    def end(self) -> list[StreamEvent]:
        """The last events: the stream has come to its end, or just stopped.

        Raises:
            StreamInterrupted: it stopped before the server said that it was done.
        """
        ...

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """All events of an answer that came in one piece. Raises as `feed` and `end` do."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One Messages request in the API's language."""

    body: Mapping[str, Any]
    """What is sent."""
    notes: Notes
    """What could not be carried over."""
    reader: Callable[[], Reader]
    """A reader for the answer; a new one for each answer."""


class Api(Protocol):
    """One of the APIs."""

    @property
    def dialect(self) -> str:
        """The dialect of clients that speak it: `openai-chat` or `openai-responses`."""
        ...

    @property
    def path(self) -> str:
        """Where requests go, after the base URL: `/chat/completions`."""
        ...

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """The request for this attempt. Raises `RequestRejected` where there is none."""
        ...

    def ids(self, facts: Facts) -> IdCodec | None:
        """The codec for ids of calls, by what is known of the server; None where nothing is."""
        ...

    def takes_own(self, original: Original, facts: Facts) -> bool:
        """Whether a client's own conversation has nothing that the server is known to refuse, but
        for ids: seen without decoding it."""
        ...

    def is_end(self, data: bytes) -> bool:
        """Whether the data of an event is the end mark of the API's stream."""
        ...

    def usage(self, told: Mapping[str, Any]) -> Mapping[str, int]:
        """The Messages API's `usage` for that of a whole answer or of an event; 0 where none."""
        ...
