"""What plugins raise, told apart: an answer, a real cancellation, or a defect of theirs.

A plugin may raise anything, `sys.exit` included. Nothing of that may end the gateway, and each
defect is told with the plugin and the place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, TypeVar

from plugway.types.errors import HookError, PlugwayError, described

log = logging.getLogger("plugway.hooks")

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def is_defect(error: BaseException) -> bool:
    """Whether code that raised `error` is at fault for it.

    False for a cancellation that somebody asked for, and for the end of a coroutine that is closed.
    """
    if isinstance(error, asyncio.CancelledError):
        task = _current_task()
        return task is None or not task.cancelling()
    if isinstance(error, GeneratorExit):
        return _current_task() is not None  # a coroutine that is thrown away has no task any more
    return True


def in_full(error: BaseException) -> str:
    """The kind of an exception and its words, for what is loaded or started: there is no request
    yet that they could quote."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def named(plugin: str, place: str, error: BaseException) -> BaseException:
    """What to raise in place of `error`, which the code of `plugin` raised in `place`, a hook or
    method: itself where it is an answer or a real cancellation, else a `HookError`, which is logged
    here."""
    if isinstance(error, PlugwayError) or not is_defect(error):
        return error
    reason = f"raised {described(error)}"
    fields = {"plugin": plugin, "hook": place}
    log.error("plugin `%s`, hook `%s`: %s", plugin, place, reason, extra=fields, exc_info=error)
    return HookError(plugin, place, reason)


def unwound(error: E) -> E:
    """`error` without the frames that it came through: they hold what was worked on, up to whole
    answers, and whatever keeps the error would keep them."""
    error.__traceback__ = error.__context__ = None
    return error


class Contained:
    """A block of a plugin's code: what it raises is `named`."""

    __slots__ = ("_passing", "_place", "_plugin")

    def __init__(self, plugin: str, place: str, *passing: type[BaseException]) -> None:
        """`passing` are exceptions that are answers here, too."""
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
        raised = named(self._plugin, self._place, error)
        if raised is not error:
            raise raised from error
        return False


async def next_of(items: AsyncIterator[T], plugin: str, place: str = "send") -> T:
    """The next item of a stream that `plugin` gave, in `place`. Raises `StopAsyncIteration`."""
    try:
        return await anext(items)
    except StopAsyncIteration:
        raise
    except BaseException as error:
        raised = named(plugin, place, error)
        if raised is error:
            raise
        raise raised from error


class Unending(asyncio.AbstractEventLoop):
    """A loop that `sys.exit` in a task or a callback does not end, mixed in before the real one.

    Signals are received by the loop itself: nobody who wants the process to stop raises here.
    """

    goes_on = False
    """Whether it serves now; before and after that all ends as usual."""

    def run_forever(self) -> None:
        """Run until `stop`."""
        while True:
            try:
                super().run_forever()  # pyright: ignore[reportAbstractUsage]
            except (SystemExit, KeyboardInterrupt) as error:
                if not self.goes_on:
                    raise
                reason = "a task in the background raised %s; the gateway goes on"
                log.exception(reason, described(error))
            else:
                return


@contextmanager
def unending(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Have `loop` go on, where it is an `Unending` one, whatever its tasks raise in the block."""
    tolerant = loop if isinstance(loop, Unending) else Unending()
    tolerant.goes_on = True
    try:
        yield
    finally:
        tolerant.goes_on = False


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
