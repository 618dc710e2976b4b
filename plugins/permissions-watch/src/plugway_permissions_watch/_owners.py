"""Which package of plugins is running: by the frames on the stack, or by the task that waits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from gc import get_referents
from inspect import currentframe
from threading import get_ident
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, Final
from weakref import ref

UNKNOWN: Final = ""
_CODES: Final = ("cr_code", "gi_code", "ag_code")
_AWAITS: Final = ("cr_await", "gi_yieldfrom", "ag_await")
_STEPS: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
_MOST_STEPS: Final = 200
_CURRENT_FRAMES: Final[Callable[[], dict[int, FrameType]]] = getattr(sys, "_current_frames")  # noqa: B009


@dataclass(frozen=True, slots=True)
class _Origin:
    """The task in whose context something runs."""

    owner: str
    """The package that created it."""
    task: ref[asyncio.Task[Any]] = field(repr=False)


_origin: ContextVar[_Origin | None] = ContextVar("plugway_permissions_watch_origin", default=None)


class Owners:
    """Finds the package that code belongs to, by the file of the code."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places` are folders, or files of modules, with the names of their packages."""
        self._places = {os.path.realpath(place): name for place, name in places.items()}
        self._files: dict[str, str] = {}
        self._thread = 0

    def of_file(self, file: str) -> str:
        """The package of a file; empty if it belongs to none."""
        found = self._files.get(file)
        if found is None:
            place = os.path.realpath(file)
            while (found := self._places.get(place, "")) == UNKNOWN:
                parent = os.path.dirname(place)
                if parent == place:
                    break
                place = parent
            self._files[file] = found
        return found

    def of_frame(self, frame: FrameType | None) -> str:
        """The package of the nearest frame that belongs to one."""
        while frame is not None:
            if found := self.of_file(frame.f_code.co_filename):
                return found
            frame = frame.f_back
        return UNKNOWN

    def here(self, frame: FrameType | None) -> str:
        """The package on whose behalf the current thread runs `frame`.

        A worker thread has no frame of a plugin if it runs a function of a library: then it is the
        innermost coroutine of the task that waits for it.
        """
        if found := self.of_frame(frame):
            return found
        origin = _origin.get()
        if origin is None:
            return UNKNOWN
        task = origin.task()
        waiting = self._waiting(task) if task is not None else UNKNOWN
        return waiting or origin.owner

    def _waiting(self, task: asyncio.Task[Any]) -> str:
        found: str = UNKNOWN
        step: Any = task.get_coro()
        if getattr(step, "cr_running", False):  # it has not begun to wait yet
            return self.of_frame(_CURRENT_FRAMES().get(self._thread))
        for _ in range(_MOST_STEPS):
            code = next((code for name in _CODES if (code := getattr(step, name, None))), None)
            found = (self.of_file(code.co_filename) if code else UNKNOWN) or found
            if code is not None:
                step = next((one for name in _AWAITS if (one := getattr(step, name, None))), None)
            else:  # such as what `anext` returns, which does not say what it runs
                step = next((one for one in get_referents(step) if type(one) in _STEPS), None)
            if step is None:
                break
        return found

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let each new task of this loop, which runs in this thread, know which package created
        it."""
        self._thread = get_ident()
        inner: Any = loop.get_task_factory()
        while isinstance(inner, _Factory):  # of the gateway before a reload
            inner = inner.inner
        loop.set_task_factory(_Factory(self, inner or _task))


@dataclass(frozen=True, slots=True)
class _Factory:
    """Makes tasks, in contexts that say who made them."""

    owners: Owners
    inner: Callable[..., asyncio.Task[Any]]

    def __call__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Any, /, **more: Any
    ) -> asyncio.Task[Any]:
        context: Context = more.pop("context", None) or copy_context()
        task = self.inner(loop, coroutine, context=context, **more)
        before = context.get(_origin)
        owner = self.owners.of_frame(currentframe()) or (before.owner if before else UNKNOWN)
        with suppress(RuntimeError):  # somebody shares a context that is in use
            context.run(_origin.set, _Origin(owner, ref(task)))
        return task


def _task(loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop, **more)
