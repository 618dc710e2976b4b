"""The gateway's side of a worker: started by the first request, ended when it is idle.

`plugway_local_engine` supervises the process; this adds the queue, the limits, and what the plugin
`memory` needs to make room. `worker` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import psutil as _psutil

from plugway import BackendUnavailable, Gateway, PlugwayError, RequestRejected
from plugway_local_engine import Call, Frame, Limits, Supervisor, WorkerSpec
from plugway_local_models import LoadedModel, MakesRoom, Reservations, control_socket, log_folder
from plugway_wire.errors import InvalidRequest

psutil: Any = _psutil
"""It has no types."""

_LIMITS: Final = Limits(load=120.0, silence=30.0, stop=1.0, crashes=5)
_CANCEL_SECONDS: Final = 10.0
"""Time for a cancelled request to stop before its worker is killed."""
_AGAIN_SECONDS: Final = 60.0
"""Time after which a worker that crashed too often gets another chance."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The engine of a worker."""

    model: str
    """Its name in `plugway models ps`."""
    entry: str
    """`module:function`, called in the worker with its channel and `config`; it calls `serve`."""
    size: int
    """Estimated bytes of memory that the worker needs."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 60.0
    """Time for one request, without the start of the worker."""
    waiting: int = 16
    """Most requests that wait for others; further ones are refused."""
    idle_seconds: float = 300.0
    """The worker is ended after that time without a request; 0 for never."""


class Engine:
    """One engine in its worker. Requests run one after the other, so a crash fails only one."""

    def __init__(self, owner: str, spec: EngineSpec, *, limits: Limits = _LIMITS) -> None:
        """`owner` is the plugin's instance."""
        self.spec = spec
        self.room: MakesRoom | None = None
        """The plugin that makes room for models, if one is listed."""
        self._owner = owner
        self._log = logging.getLogger(f"plugway.{owner}")
        path = log_folder() / f"{owner}-{spec.model.replace('/', '-')}.log"
        worker = WorkerSpec(f"{owner}/{spec.model}", spec.entry, spec.config, path, limits)
        self._supervisor = Supervisor(worker)
        self._reservations = Reservations()
        self._starting = anyio.Lock()
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._cleaning: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """The worker's process, if it runs."""
        return self._supervisor.pid

    async def one(self, header: Mapping[str, Any], body: bytes = b"") -> Frame:
        """Send a request whose reply is one piece. Raises what `call` raises."""
        async with self.call(header, body) as pieces:
            found = [piece async for piece in pieces]
        return found[0]

    @asynccontextmanager
    async def call(
        self, header: Mapping[str, Any], body: bytes = b""
    ) -> AsyncGenerator[AsyncIterator[Frame]]:
        """Send a request; yields the pieces of its reply. Leaving early cancels it.

        Raises:
            InvalidRequest: the engine refuses the input.
            RequestRejected: too many requests wait (429), the worker cannot run or died (503), or
                the request took too long (504).
        """
        if self._waiting > self.spec.waiting:
            raise RequestRejected(
                f"`{self._owner}`: {self.spec.waiting} requests are waiting already",
                status=429,
                headers={"retry-after": "2"},
                record=True,
            )
        self._waiting += 1
        try:
            await self._turn.acquire()
            call: Call | None = None
            try:
                call = await self._sent(header, body)
                with anyio.fail_after(self.spec.seconds):
                    yield self._pieces(call)
            except TimeoutError:
                raise RequestRejected(
                    f"`{self._owner}` took longer than {self.spec.seconds:g} s",
                    status=504,
                    retry=False,
                    record=True,
                ) from None
            finally:
                self._leave(call)
        finally:
            self._waiting -= 1

    async def load(self) -> None:
        """Start the worker now. Raises `RequestRejected`."""
        try:
            await self._ready()
        except PlugwayError as error:
            raise _unavailable(error) from None

    async def unload(self) -> bool:
        """End the worker; False if there is none. A request that comes meanwhile waits, and starts
        another."""
        async with self._starting:
            running = self._supervisor.state != "stopped"
            await self._supervisor.aclose()
            return running

    def held(self) -> LoadedModel | None:
        """What is in memory; None if there is no worker."""
        supervisor = self._supervisor
        if supervisor.state == "stopped":
            return None
        return LoadedModel(
            self.spec.model,
            size=self._size(),
            requests=self._waiting,
            idle_seconds=time.monotonic() - supervisor.last_used,
            state="loaded" if supervisor.state == "ready" else supervisor.state,
            pid=supervisor.pid,
            problem=supervisor.failure[0] if supervisor.failure else "",
        )

    async def keep(self) -> None:
        """End the worker whenever it is idle for too long; runs until it is cancelled."""
        while idle := self.spec.idle_seconds:
            await anyio.sleep(min(30.0, idle / 2))
            unused = time.monotonic() - self._supervisor.last_used
            if self._supervisor.state == "ready" and not self._waiting and unused > idle:
                await self.unload()

    async def aclose(self) -> None:
        """End the worker; requests in it fail."""
        await self._supervisor.aclose()
        if self._cleaning:
            await asyncio.wait(self._cleaning)
        await self._reservations.aclose()

    async def _sent(self, header: Mapping[str, Any], body: bytes) -> Call:
        try:
            await self._ready()
            return await self._supervisor.call({**header, "op": "run"}, body)
        except PlugwayError as error:
            raise _unavailable(error) from None

    async def _ready(self) -> None:
        supervisor = self._supervisor
        async with self._starting:
            now = time.monotonic()
            if supervisor.state == "quarantined" and now - supervisor.crashes[-1] > _AGAIN_SECONDS:
                supervisor.reset()
            if supervisor.state in ("stopped", "failed"):
                if self.room is None:
                    supervisor.start()
                else:
                    spec, note = self.spec, self._log.info
                    reserved = self.room.loading(self._owner, spec.model, spec.size, note)
                    await self._reservations.start(reserved, supervisor.start, supervisor.settled)
        await supervisor.ready()

    async def _pieces(self, call: Call) -> AsyncIterator[Frame]:
        try:
            async for frame in call:
                if "refused" in frame.header:
                    raise InvalidRequest(frame.header["refused"], retry=False)
                if "failed" in frame.header:
                    message = f"`{self._owner}` failed ({frame.header['failed']}); see its log"
                    raise RequestRejected(message, status=500, retry=False, record=True)
                if not frame.header.get("end"):
                    yield frame
        except BackendUnavailable as error:
            raise _unavailable(error) from None

    def _leave(self, call: Call | None) -> None:
        """Let the next request in; only after this one has stopped, if it was cancelled."""
        if call is None or call.ended:
            if call is not None:
                self._supervisor.release(call)
            self._turn.release()
            return
        task = asyncio.create_task(self._stopped(call))
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _stopped(self, call: Call) -> None:
        try:
            self._supervisor.post({"op": "cancel", "id": call.number})
            try:
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await _drained(call)
            except TimeoutError:
                self._log.error("a cancelled request did not stop: its worker is killed")
                self._supervisor.kill()
                await _drained(call)
            self._supervisor.release(call)
        finally:
            self._turn.release()

    def _size(self) -> int:
        with contextlib.suppress(psutil.Error):
            if self.pid is not None:
                worker = psutil.Process(self.pid)
                programs = [worker, *worker.children(recursive=True)]
                return sum(int(one.memory_info().rss) for one in programs)
        return self.spec.size


class HoldsEngines:
    """A base class for plugins with engines: `plugway models` and `memory` see them.

    Implements `HoldsModels` and `AsksForRoom` of `plugway_local_models`.
    """

    engines: Sequence[Engine] = ()

    async def loaded(self) -> list[LoadedModel]:
        """The engines that have a worker."""
        return [held for engine in self.engines if (held := engine.held())]

    async def needs(self, model: str) -> int:
        """Bytes that an engine needs. Raises `RequestRejected` if it is unknown."""
        return self._engine(model).spec.size

    async def load(self, model: str) -> None:
        """Start a worker. Raises `RequestRejected`."""
        await self._engine(model).load()

    async def unload(self, model: str) -> bool:
        """End a worker; False if there is none."""
        known = [engine for engine in self.engines if engine.spec.model == model]
        return await known[0].unload() if known else False

    def ask_for_room(self, room: MakesRoom) -> None:
        """From now on, start no worker before `room` has made room for it."""
        for engine in self.engines:
            engine.room = room

    @asynccontextmanager
    async def running(self, gateway: Gateway | None = None) -> AsyncGenerator[None]:
        """For `lifespan`: ends idle workers, and all at the end."""
        try:
            async with control_socket(gateway), anyio.create_task_group() as group:
                for engine in self.engines:
                    group.start_soon(engine.keep)
                yield
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                for engine in self.engines:
                    await engine.aclose()

    def _engine(self, model: str) -> Engine:
        for engine in self.engines:
            if engine.spec.model == model:
                return engine
        names = ", ".join(engine.spec.model for engine in self.engines)
        message = f"model: unknown engine {model!r}; known: {names or 'none'}"
        raise RequestRejected(message, status=404, retry=False)


async def _drained(call: Call) -> None:
    with contextlib.suppress(PlugwayError):
        async for _ in call:
            pass


def _unavailable(error: PlugwayError) -> RequestRejected:
    if isinstance(error, RequestRejected):
        return error
    permanent = isinstance(error, BackendUnavailable) and error.permanent
    return RequestRejected(
        str(error), status=503, type="overloaded_error", retry=not permanent, record=error.record
    )
