"""A plugin's layer around a stream of events; its exceptions name the plugin."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from plugway.plugins.contain import Contained, next_of
from plugway.types.errors import HookError
from plugway.types.events import EventStream, StreamEvent


class Attributed:
    """Events whose failures name the plugin that makes them."""


class Layer(Attributed):
    """The stream that a plugin's hook returned. Raises `HookError` if the stream raises anything
    but `PlugwayError`, or yields something that is not an event."""

    __slots__ = ("_events", "_hook", "_plugin", "_stream")

    def __init__(
        self, stream: AsyncIterable[StreamEvent], plugin: str, hook: str = "transform_stream"
    ) -> None:
        self._stream = stream
        self._plugin = plugin
        self._hook = hook
        self._events: AsyncIterator[StreamEvent] | None = None

    def __aiter__(self) -> Layer:
        """The events."""
        return self

    @property
    def pending(self) -> bool:
        """Whether the layer reports that its next event is available without waiting."""
        return getattr(self._stream, "pending", False) is True

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        if self._events is None:
            with Contained(self._plugin, self._hook):
                self._events = aiter(self._stream)
        item: Any = await next_of(self._events, self._plugin, self._hook)
        if isinstance(item, StreamEvent):
            return item
        reason = f"yielded {type(item).__name__} instead of a `StreamEvent`"
        raise HookError(self._plugin, self._hook, reason)

    async def aclose(self) -> None:
        """Close the layer."""
        if isinstance(self._stream, EventStream):
            with Contained(self._plugin, self._hook):
                await self._stream.aclose()
