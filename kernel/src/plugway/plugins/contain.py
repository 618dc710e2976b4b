"""Contains exceptions of plugins: tells replies and cancellations apart from defects.

A plugin may raise anything, including `SystemExit`. None of it may stop the gateway, and each
defect is reported with the plugin and the place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Any, Literal, TypeVar

from plugway.types.errors import HookError
from plugway_log import described
from plugway_wire.errors import PlugwayError
from plugway_wire.events import EventStream, StreamEvent

log = logging.getLogger("plugway.hooks")

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def is_defect(error: BaseException) -> bool:
    """Whether `error` is a defect of the code that raised it.

    False for a requested cancellation, and for `GeneratorExit` in a coroutine that is closed.
    """
    if isinstance(error, asyncio.CancelledError):
        task = _current_task()
        return task is None or not task.cancelling()
    if isinstance(error, GeneratorExit):
        return _current_task() is not None  # a discarded coroutine has no task any more
    return True


def with_message(error: BaseException) -> str:
    """The type and message of an exception. Only for load and start: later a message may quote a
    request."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def attributed(plugin: str, place: str, error: BaseException) -> BaseException:
    """The exception to raise for `error`, raised by `plugin` in the hook or method `place`: itself
    if it is a `PlugwayError` or a cancellation, else a `HookError`, which is logged here."""
    if isinstance(error, PlugwayError) or not is_defect(error):
        return error
    reason = f"raised {described(error)}"
    fields = {"plugin": plugin, "hook": place}
    log.error("plugin `%s`, hook `%s`: %s", plugin, place, reason, extra=fields, exc_info=error)
    return HookError(plugin, place, reason)


def unwound(error: E) -> E:
    """`error` without its traceback, whose frames would keep large replies alive."""
    error.__traceback__ = error.__context__ = None
    return error


class Contained:
    """A block that runs a plugin's code; its exceptions are `attributed` to the plugin."""

    __slots__ = ("_passing", "_place", "_plugin")

    def __init__(self, plugin: str, place: str, *passing: type[BaseException]) -> None:
        """`passing` are further exceptions that pass unchanged."""
        self._plugin = plugin
        self._place = place
        self._passing = passing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        if error is None or isinstance(error, self._passing):
            return False
        raised = attributed(self._plugin, self._place, error)
        if raised is not error:
            raise raised from error
        return False


async def next_of(items: AsyncIterator[T], plugin: str, place: str = "send") -> T:
    """The next item of a stream that `plugin` made in `place`. Raises `StopAsyncIteration`."""
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise
    except BaseException as error:
        raised = attributed(plugin, place, error)
        if raised is error:
            raise
        raise raised from error


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


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
