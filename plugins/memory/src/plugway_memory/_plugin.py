"""The plugin: counts exchanges with local models, makes room for them, and watches the memory."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from fnmatch import fnmatchcase
from functools import partial

import anyio

from plugway import (
    Attempt,
    Exchange,
    Gateway,
    MessagesRequest,
    Plugin,
    Reply,
    Send,
    StateKey,
    hookimpl,
)
from plugway_local_models import AsksForRoom, HoldsModels, MemoryReport, control_socket
from plugway_local_models.memory import read_memory
from plugway_memory._arbiter import Arbiter
from plugway_memory._options import MemoryOptions, size_text
from plugway_memory._pressure import Stall
from plugway_memory._watch import Watch

_log = logging.getLogger("plugway.memory")

_RUNNING: StateKey[list[Callable[[], None]]] = StateKey("memory.running")
"""What to call when the exchange has finished."""


class MemoryPlugin(Plugin[MemoryOptions]):
    """Divides this machine's memory between all local models, and unloads idle ones."""

    def __init__(self, options: MemoryOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.read = read_memory
        """Measures the memory; tests may replace it before the start."""
        self._use(Arbiter({}, options, read=self.read))

    def _use(self, arbiter: Arbiter) -> None:
        self.arbiter = arbiter
        self.watch = Watch(arbiter, Stall().share)

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """Finds the backends before the first of them loads a model; then watches the memory."""
        backends = dict(gateway.find(HoldsModels))
        shared = None
        if gateway.predecessor is not None:
            before = [one for _, one in gateway.predecessor.find(MemoryPlugin)]
            shared = before[0].arbiter.shared if before else None
        self._use(Arbiter(backends, self.options, read=self.read, shared=shared))
        for backend in backends.values():
            if isinstance(backend, AsksForRoom):
                backend.ask_for_room(self)
        return self._live(gateway)

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        self._check()
        async with control_socket(gateway), anyio.create_task_group() as group:
            if self.arbiter.owners.backends:
                group.start_soon(self.watch.run)
            yield
            group.cancel_scope.cancel()

    def _check(self) -> None:
        """Raises `ValueError` if nothing can be decided on this machine with these options."""
        try:
            memory = self.arbiter.read()
        except OSError as error:
            raise ValueError(f"{error}; remove `{self.name}` from `plugins`") from None
        if (reserve := self.arbiter.reserve(memory)) >= memory.total:
            total = size_text(memory.total)
            raise ValueError(
                f"`reserve` of {size_text(reserve)} leaves nothing of {total} of memory: lower it"
            )
        names = list(self.arbiter.owners.backends)
        for pattern in self.options.keep:
            if not any(fnmatchcase(name, pattern.partition("/")[0]) for name in names):
                _log.warning(
                    "plugin `%s`: `%s` in `keep` matches no backend that holds models (%s)",
                    self.name,
                    pattern,
                    ", ".join(names) or "there is none",
                )

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The attempt, once its model may be in memory; the model counts as busy until the exchange
        has finished.

        Raises:
            BackendUnavailable: the model can never fit, or no other became idle in time.
            BackendRefused: the prompt is too long while memory is short.
        """
        backend = attempt.backend.name
        if backend not in self.arbiter.owners.backends:
            return await send(request, attempt)
        key = (backend, await self.arbiter.owners.name_of(backend, attempt.model))
        note = partial(exchange.note, self.name, stage="around_attempt")
        await self.watch.check(key, request, attempt, exchange, self.name)
        await self.arbiter.begin(key, note)
        try:
            async with self.arbiter.present(key, note):
                reply = await send(request, attempt)
        except BaseException:
            self.arbiter.end(key)
            raise
        running = exchange.state.get(_RUNNING)
        if running is None:
            running = exchange.state[_RUNNING] = []
        running.append(partial(self.arbiter.end, key))
        return reply

    @hookimpl
    def finished(self, exchange: Exchange) -> None:
        """The streams of the exchange are closed."""
        running = exchange.state.get(_RUNNING) or []
        while running:
            running.pop()()

    # ── `MakesRoom` ──────────────────────────────────────────────────────────────────────────

    def loading(
        self, backend: str, model: str, size: int, note: Callable[[str], None]
    ) -> AbstractAsyncContextManager[None]:
        """Hold `size` bytes while a model is loaded; see `MakesRoom`."""
        return self.arbiter.loading(backend, model, size, note)

    async def obtainable(self, backend: str, model: str) -> int:
        """Bytes for the model if all others were unloaded; see `MakesRoom`."""
        return await self.arbiter.obtainable(backend, model)

    async def report(self) -> MemoryReport:
        """The present state; see `MakesRoom`."""
        return await self.arbiter.report()
