"""The reply of a backend: status, headers, and a body that is whole, raw chunks, or events.

Choosing between these forms on the way to the client is the pipeline's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from plugway.types.errors import Headers
from plugway.types.events import EventStream, StreamEvent, replayed
from plugway.types.json import loaded
from plugway.types.sse import Decoder

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
    """What a client demands of an answer, and the answer does not have."""

    what: str
    """In words for the receipt, which quote nothing of the answer."""
    refused: bool = False
    """The model refused, and is not asked again."""


class Reply:
    """What a backend answered with success. Immutable: `replace` makes another.

    Exactly one of `body`, `chunks` and `events` is set. Make one with `Reply.message`,
    `Reply.relay` or `Reply.streamed`.
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
        """An event stream as the upstream sends it, not decoded."""
        self.events = events
        """An event stream made here."""
        self.cut_on_error = cut_on_error
        """An `error` event in `chunks` breaks the stream off instead of being passed on."""
        self.dialect = dialect
        """`body` or `chunks` are in this dialect, the client's own, and go to it as they are: see
        `MessagesRequest.original`. Only for a request that no plugin changed but for its model.
        Chunks that stop before the dialect's end mark raise `StreamInterrupted`."""
        self.usage = usage
        """For a reply in a `dialect`: the `usage` that it told, as the Messages API counts. Called
        once at most, when all has passed or broken off; it must not raise."""
        self.missing = missing
        """For a reply in a `dialect`: what the client demands and what has passed so far does not
        have; it must not raise."""
        self.made = made
        """`body` was made here from what a backend read: all of its tool calls are whole. Otherwise
        a server may have closed the arguments of a last call that was cut off."""
        self.close = close
        """Lets go of what the reply holds; the kernel calls it exactly once."""
        self._parsed: Mapping[str, Any] | None = None

    @classmethod
    def message(cls, message: Mapping[str, Any], *, headers: Headers = ()) -> Reply:
        """A finished message object, as JSON."""
        made = cls(headers=(*headers, _JSON), body=orjson.dumps(message), made=True)
        made._parsed = message
        return made

    @classmethod
    def whole(cls, status: int, body: bytes, *, headers: Headers = ()) -> Reply:
        """A whole body as it is."""
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
        """An Anthropic event stream in an upstream's own bytes.

        `cut_on_error` is for upstreams other than Anthropic: a client heals from a cut, and not
        from an `error` event after content (`docs/errors.md`).
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
        """An event stream; an `EventStream` is closed by its own `aclose`."""
        if close is None:
            close = events.aclose if isinstance(events, EventStream) else _nothing
        return cls(headers=headers, events=events, close=close)

    @property
    def is_stream(self) -> bool:
        """Whether the body comes in pieces."""
        return self.body is None

    @property
    def parsed(self) -> Mapping[str, Any]:
        """A whole body as the object that it is; empty where it is none. Treat it as read-only."""
        if self._parsed is None:
            self._parsed = loaded(self.body or b"")
        return self._parsed

    def decoded(self) -> AsyncIterable[StreamEvent]:
        """The reply as events, whatever its form; to be read once. A whole message is replayed."""
        if self.chunks is not None:
            return DecodedStream(self.chunks)
        return replayed(self.parsed) if self.events is None else self.events

    def replace(self, **changes: Any) -> Reply:
        """A copy with some fields changed."""
        return Reply(**({name: getattr(self, name) for name in _FIELDS} | changes))

    def header(self, name: str) -> str | None:
        """The last header line of that name (lower case), or None."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class DecodedStream:
    """Raw chunks as events. The kernel closes the reply that owns them; `aclose` does nothing."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._decoder = Decoder()
        self._ready: list[StreamEvent] = []

    def __aiter__(self) -> DecodedStream:
        """The events, as their bytes arrive."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        while not self._ready:
            self._ready = self._decoder.feed(await anext(self._chunks))
        return self._ready.pop(0)

    async def aclose(self) -> None:
        """Nothing: the reply that owns the chunks is closed by the kernel."""
