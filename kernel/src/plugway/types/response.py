"""The reply of a backend: status, headers, and a body as whole bytes, raw chunks or events.

The pipeline converts between these forms.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from plugway_wire.errors import Headers
from plugway_wire.events import StreamEvent, replayed
from plugway_wire.json import loaded
from plugway_wire.sse import Decoder

Close = Callable[[], Awaitable[None]]

_FIELDS: Final = (
    "status",
    "headers",
    "body",
    "chunks",
    "events",
    "cut_on_error",
    "dialect",
    "usage",
    "missing",
    "made",
    "close",
)
_JSON: Final = ("content-type", "application/json")


async def _nothing() -> None:
    """Nothing to close."""


class Missing(NamedTuple):
    """Something that the client requires and a reply lacks."""

    what: str
    """Text for the receipt; it must not quote the reply."""
    refused: bool = False
    """The model refused, so the request is not retried."""


class Reply:
    """The reply of a backend. Immutable; `replace` makes a copy.

    Exactly one of `body`, `chunks` and `events` is set. Create it with `Reply.message`,
    `Reply.whole`, `Reply.relay` or `Reply.streamed`.
    """

    __slots__ = ("_parsed", *_FIELDS)

    def __init__(
        self,
        status: int = 200,
        headers: Headers = (),
        body: bytes | None = None,
        chunks: AsyncIterator[bytes] | None = None,
        events: AsyncIterable[StreamEvent] | None = None,
        cut_on_error: bool = False,
        dialect: str = "",
        usage: Callable[[], Mapping[str, Any]] | None = None,
        missing: Callable[[], Missing | None] | None = None,
        made: bool = False,
        close: Close = _nothing,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        """A whole JSON body."""
        self.chunks = chunks
        """An event stream as raw bytes of the upstream."""
        self.events = events
        """An event stream made by a plugin."""
        self.cut_on_error = cut_on_error
        """Cut the stream at an `error` event in `chunks` instead of passing the event on."""
        self.dialect = dialect
        """The dialect of `body` or `chunks` if they go to the client unchanged: see
        `MessagesRequest.original`. Only for requests in which plugins changed only the model.
        `chunks` must raise `StreamInterrupted` if they stop before the dialect's end mark."""
        self.usage = usage
        """For a reply in a `dialect`: returns its `usage` in the format of the Messages API. Called
        at most once, after the last chunk; it must not raise."""
        self.missing = missing
        """For a reply in a `dialect`: returns what the client requires and the reply lacks so far;
        it must not raise."""
        self.made = made
        """`body` was built by the gateway, so all tool calls in it are complete. In the body of a
        server the arguments of a cut-off last call may have been closed."""
        self.close = close
        """Releases the resources; called once, as the maker of the reply set it."""
        self._parsed: Mapping[str, Any] | None = None

    @classmethod
    def message(cls, message: Mapping[str, Any], *, headers: Headers = ()) -> Reply:
        """A finished message."""
        made = cls(headers=(*headers, _JSON), body=orjson.dumps(message), made=True)
        made._parsed = message
        return made

    @classmethod
    def whole(cls, status: int, body: bytes, *, headers: Headers = ()) -> Reply:
        """A whole body, unchanged."""
        return cls(status=status, headers=headers, body=body)

    @classmethod
    def relay(
        cls,
        chunks: AsyncIterator[bytes],
        *,
        headers: Headers = (),
        close: Close = _nothing,
        cut_on_error: bool = False,
    ) -> Reply:
        """An Anthropic event stream as raw bytes of an upstream.

        Set `cut_on_error` for upstreams other than Anthropic: clients retry after a cut, but not
        after an `error` event that follows content (`docs/errors.md`).
        """
        return cls(headers=headers, chunks=chunks, close=close, cut_on_error=cut_on_error)

    @classmethod
    def streamed(
        cls,
        events: AsyncIterable[StreamEvent],
        *,
        headers: Headers = (),
        close: Close | None = None,
    ) -> Reply:
        """A stream of events; by default it is closed by its `aclose`, if it has one."""
        made: Close = close or getattr(events, "aclose", _nothing)
        return cls(headers=headers, events=events, close=made)

    @property
    def is_stream(self) -> bool:
        """Whether the body is a stream."""
        return self.body is None

    @property
    def parsed(self) -> Mapping[str, Any]:
        """The whole body as a JSON object; empty if it is not one. Treat it as read-only."""
        if self._parsed is None:
            self._parsed = loaded(self.body or b"")
        return self._parsed

    def decoded(self) -> AsyncIterable[StreamEvent]:
        """The reply as events, in any form; iterate it only once. A whole message is replayed."""
        if self.chunks is not None:
            return DecodedStream(self.chunks)
        return replayed(self.parsed) if self.events is None else self.events

    def replace(self, **changes: Any) -> Reply:
        """A copy with some fields changed."""
        return Reply(**({name: getattr(self, name) for name in _FIELDS} | changes))

    def header(self, name: str) -> str | None:
        """The last header with that name (in lower case), or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class DecodedStream:
    """Decodes raw chunks into events. The kernel closes the reply that owns the chunks."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._decoder = Decoder()
        self._ready: list[StreamEvent] = []

    def __aiter__(self) -> DecodedStream:
        """The events as they arrive."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        while not self._ready:
            self._ready = self._decoder.feed(await anext(self._chunks))
        return self._ready.pop(0)

    async def aclose(self) -> None:
        """Do nothing: the kernel closes the reply that owns the chunks."""
