"""The backend that runs Apple's model in process: sends plans to sessions, and makes events.

`_run` talks to Apple's session, in a thread; `_plan` translates the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from plugway import (
    Attempt,
    BackendUnavailable,
    Emitter,
    InvalidRequest,
    MessagesRequest,
    ModelInfo,
    NoRoute,
    Reply,
    StreamEvent,
    StreamInterrupted,
)
from plugway_apple_intelligence import _sdk
from plugway_apple_intelligence._options import WINDOWS, AppleIntelligenceOptions
from plugway_apple_intelligence._plan import Plan, plan_of
from plugway_apple_intelligence._run import Called, Ended, Failed, Item, Run, Started, Text
from plugway_apple_intelligence._words import UNAVAILABLE, described
from plugway_wire.shape import wrong_choice

MODEL: Final = "system"
ABLE: Final = ("tools", "structured_output")


class InProcess:
    """Apple's on-device model, in the gateway's own process."""

    zone = "local"

    def __init__(self, name: str, options: AppleIntelligenceOptions) -> None:
        self.name = name
        self._options = options
        self._slots = anyio.Semaphore(options.parallel)

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference. Waits for its turn if as many requests as `parallel` are running.

        Raises:
            RequestRejected: there is no such model, or `tool_choice` is invalid.
            BackendError: Apple's model is not available, or failed before any content.
        """
        if request.get("tool_choice") is not None and (wrong := wrong_choice(request.body)):
            raise InvalidRequest(wrong, retry=False, record=True)
        self._require(attempt.model)
        await anyio.to_thread.run_sync(_loaded)
        plan = plan_of(request.body)
        attempt.note(*plan.notes.lines())
        stream = Generation(plan, request.model, self._options.guardrails, self._slots)
        try:
            await stream.begin()
        except BaseException:
            await stream.aclose()
            raise
        return Reply.streamed(stream)

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | None:
        """Tokens of the prompt, exact on macOS 26.4 and newer; None on older ones."""
        self._require(attempt.model)
        await anyio.to_thread.run_sync(_loaded)
        plan, free = plan_of(request.body), anyio.Semaphore(1)  # counting does not wait for a turn
        stream = Generation(plan, request.model, self._options.guardrails, free, counts_only=True)
        try:
            await stream.begin()
            return stream.prompt
        finally:
            await stream.aclose()

    async def models(self) -> Sequence[ModelInfo]:
        """The one model, with the reason if it is not available."""
        window, problem = await anyio.to_thread.run_sync(_state)
        return [described(MODEL, self._options.context_tokens or window, *ABLE, problem=problem)]

    def _require(self, model: str) -> None:
        if model != MODEL:
            what = f"model: {model}. `{self.name}` serves only `{MODEL}`"
            raise NoRoute(what, retry=False, record=True)


class Generation:
    """The events of one reply."""

    def __init__(
        self,
        plan: Plan,
        model: str,
        guardrails: str,
        slots: anyio.Semaphore,
        *,
        counts_only: bool = False,
    ) -> None:
        self.prompt: int | None = None
        """Exact tokens of the prompt, once begun; None if they cannot be counted."""
        self._emitter = Emitter(model=model)
        self._slots = slots
        self._items: asyncio.Queue[Item] = asyncio.Queue()
        self._first: list[StreamEvent] = []
        self._usage: dict[str, int] = {}
        self._ended = False
        self._holds = False
        loop = asyncio.get_running_loop()
        put = partial(_tell, loop, self._items.put_nowait)
        done = partial(_tell, loop, slots.release)
        self._run = Run(plan, guardrails, put, done, counts_only)

    async def begin(self) -> None:
        """Wait for a slot, then for the first content.

        Raises:
            BackendError: the model is not available, or failed, or the prompt is too long.
        """
        await self._slots.acquire()
        self._holds = True
        self._run.start()
        self._first = await self._next()
        while not self._ended and len(self._first) < 2:
            self._first += await self._next()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """The events, in order."""
        for item in self._first:
            yield item
        while not self._ended:
            for item in await self._next():
                yield item

    async def aclose(self) -> None:
        """Stop the session if the reply has not ended; the thread gives the slot back."""
        if self._holds and not self._ended:
            self._run.cancel()

    async def _next(self) -> list[StreamEvent]:
        item = await self._items.get()
        match item:
            case Started():
                self.prompt = item.prompt if item.exact else None
                self._usage = {"input_tokens": item.prompt, "output_tokens": 0}
                return self._emitter.start(self._usage)
            case Text():
                return self._emitter.text(item.text)
            case Called():
                started = self._emitter.tool_start(item.name)
                return [*started, *self._emitter.tool_arguments(item.arguments)]
            case Ended():
                self._ended = True
                self._usage["output_tokens"] = item.output
                return self._emitter.finish(
                    item.reason,
                    self._usage,
                    stop_sequence=item.stop,
                    explanation=item.explanation,
                )
            case Failed():
                self._ended = True
                if self._emitter.empty:
                    raise item.error
                raise StreamInterrupted(item.error.message, record=item.error.record)


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[..., None], *items: Item) -> None:
    """Call `tell(*items)` in the gateway's loop, from any thread."""
    with suppress(RuntimeError):  # the gateway has stopped
        loop.call_soon_threadsafe(tell, *items)


def _loaded() -> None:
    """Load the SDK. Raises `BackendUnavailable` with the reason and the fix."""
    if problem := _sdk.problem_here():
        raise BackendUnavailable(problem, status=503, permanent=True)
    try:
        _sdk.load()
    except (ImportError, OSError) as error:
        message = (
            "Apple's SDK is installed, but its library cannot be loaded. Install it again with "
            f"`{_sdk.INSTALL}` on this Mac, with Xcode 26 or newer"
        )
        record = f"Apple's SDK cannot be loaded: {type(error).__name__}"
        raise BackendUnavailable(message, status=503, permanent=True, record=record) from error


def _state() -> tuple[int, str]:
    """The window, and why the model is not available."""
    try:
        _loaded()
        fm = _sdk.load()
        model = _sdk.model_of(fm, "default")
        available, reason = model.is_available()
        if not available:
            name = getattr(reason, "name", "UNKNOWN")
            return WINDOWS[MODEL], UNAVAILABLE.get(name, UNAVAILABLE["UNKNOWN"])
        return int(model.context_size), ""
    except BackendUnavailable as failure:
        return WINDOWS[MODEL], failure.message
