"""The gateway's side of a worker: start it, watch it, stop it, and share it between requests.

The package of each engine defines the contents of requests and replies; here a request is a frame
sent and a series of frames received. Nothing blocks the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from plugway import BackendUnavailable, StreamInterrupted
from plugway_local_engine._frames import Frame, FrameDecoder, FrameError, encode
from plugway_local_engine._process import end, exit_text, last_words, open_log, spawn
from plugway_local_engine._seen import seen
from plugway_local_models import Progress

State = Literal["stopped", "loading", "ready", "restarting", "failed", "quarantined"]

_CHUNK: Final = 1 << 18
_PAUSE_AT: Final = 256
"""Frames of one request that may be queued before the worker is told to pause it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of a supervisor, in seconds."""

    load: float = 600.0
    silence: float = 15.0
    """Time without a heartbeat during work after which the worker counts as dead."""
    cancel: float = 2.0
    """Time between a cancel and its confirmation after which the worker is killed."""
    stop: float = 3.0
    """Time for an idle worker to write its caches when the gateway stops."""
    crashes: int = 3
    crash_window: float = 300.0
    delays: tuple[float, ...] = (0.1, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """The engine to run, and its configuration."""

    name: str
    entry: str
    """`module:function`, called in the child with its channel and `config`."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    log: Path = Path(os.devnull)
    limits: Limits = Limits()


class Call:
    """One request in a worker: iterate over the frames of its reply; close it to cancel."""

    def __init__(self, owner: Supervisor, number: int, request_id: str = "") -> None:
        self._owner = owner
        self.number = number
        self.request_id = request_id
        self._frames: deque[Frame] = deque()
        self._arrived = asyncio.Event()
        self._failure: str | None = None
        self._paused = False
        self.begun = False
        """Whether the consumer has forwarded content: a failure can no longer be hidden."""
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Frames up to the one with `end`.

        Raises:
            BackendUnavailable: the worker died before `begun` was set.
            StreamInterrupted: it died later.
        """
        while True:
            while self._frames:
                frame = self._frames.popleft()
                if self._paused and len(self._frames) < _PAUSE_AT // 4:
                    self._paused = False
                    self._owner.post({"op": "resume", "id": self.number})
                yield frame
                if frame.header.get("end"):
                    return
            if self._failure is not None:
                raise self._error(self._failure)
            self._arrived.clear()
            await self._arrived.wait()

    def deliver(self, frame: Frame) -> None:
        """Called by the supervisor's reader, which must never wait for one slow request."""
        self._frames.append(frame)
        self._arrived.set()
        if frame.header.get("end"):
            self.ended = True
        elif len(self._frames) >= _PAUSE_AT and not self._paused:
            self._paused = True
            self._owner.post({"op": "pause", "id": self.number})

    def fail(self, reason: str) -> None:
        """Report that the worker has died."""
        self._failure = reason
        self.ended = True
        self._arrived.set()

    async def aclose(self) -> None:
        """Cancel the request if it has not ended; safe to call twice."""
        self._owner.release(self)

    def _error(self, reason: str) -> Exception:
        if self.begun:
            return StreamInterrupted(reason, status=529)
        return BackendUnavailable(reason, status=529, retry_after=1.0)


class Supervisor:
    """One worker process, kept alive from `start` to `aclose`."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.state: State = "stopped"
        self.info: Mapping[str, Any] = {}
        """The properties that the worker reported when it was ready."""
        self.progress: Mapping[str, Any] = {}
        """The last heartbeat."""
        self.failure: tuple[str, int] | None = None
        """Why it does not run, and a status: the load failed, or too many crashes."""
        self.last_used = time.monotonic()
        self.crashes: deque[float] = deque()
        self._calls: dict[int, Call] = {}
        self._stopping: dict[int, float] = {}
        self._next = 0
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._heard = 0.0
        self._closing = False
        self._log = logging.getLogger(f"plugway.{spec.name}")

    @property
    def busy(self) -> int:
        """Number of requests in the worker."""
        return len(self._calls)

    @property
    def pid(self) -> int | None:
        """Process id of the child, if it is running."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        """Start loading, unless it is running already; `ready` waits for the end of it."""
        if self._task is None or self._task.done():
            self.failure = None
            self._set("loading")
            self._task = asyncio.create_task(self._run(), name=f"worker {self.spec.name}")

    async def ready(self) -> Mapping[str, Any]:
        """Wait until the worker accepts requests.

        Raises:
            BackendUnavailable: it cannot be loaded, or crashed too often.
        """
        if self.state == "stopped" or (self.state == "failed" and not self._task_alive()):
            self.start()
        while self.state != "ready":
            if self.failure is not None and self.state in ("failed", "quarantined"):
                message, status = self.failure
                raise BackendUnavailable(message, status=status, permanent=True)
            if self.state == "stopped":
                raise BackendUnavailable(f"{self.spec.name}: the worker was stopped", status=529)
            await self._changed.wait()
        self.last_used = time.monotonic()
        return self.info

    async def settled(self) -> None:
        """Wait until the worker is not loading any more, whatever became of it."""
        while self.state in ("loading", "restarting"):
            await self._changed.wait()

    def progress_of(self, request_id: str) -> Progress | None:
        """How far a request is that was sent with that `request`; None if there is none."""
        for call in self._calls.values():
            if call.request_id == request_id:
                return seen(self.progress, call.number)
        return None

    async def call(self, header: Mapping[str, Any], body: bytes = b"") -> Call:
        """Send a request to the worker. Always close the returned call."""
        await self.ready()
        self._next += 1
        call = Call(self, self._next, header.get("request", ""))
        if not self._calls:
            self._heard = time.monotonic()
        self._calls[call.number] = call
        self.post({**header, "id": call.number}, body)
        return call

    def release(self, call: Call) -> None:
        """Remove a call; one that has not ended is cancelled in the worker first."""
        if self._calls.pop(call.number, None) is None:
            return
        self.last_used = time.monotonic()
        if not call.ended:
            self._stopping[call.number] = time.monotonic() + self.spec.limits.cancel
            self.post({"op": "cancel", "id": call.number})

    def post(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Write a frame to the worker, if there is one; the transport buffers it."""
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.is_closing():
            process.stdin.write(encode(header, body))

    def kill(self) -> None:
        """Kill the process now; it is restarted."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def reset(self) -> None:
        """Forget crashes, and enable the worker again."""
        self.crashes.clear()
        if self.state in ("failed", "quarantined"):
            self.failure = None
            self._set("stopped")

    async def aclose(self) -> None:
        """Stop the worker; requests in it fail. An idle one may finish writing its caches."""
        task, self._task = self._task, None
        if task is not None:
            self._closing = True
            if self.state == "ready" and not self._calls:
                self.post({"op": "stop"})
                await asyncio.wait([task], timeout=self.spec.limits.stop)
            task.cancel()
            await asyncio.wait([task])
            self._closing = False
        self._set("stopped")

    def _task_alive(self) -> bool:
        return self._task is not None and not self._task.done()

    def _set(self, state: State) -> None:
        self.state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        """Start the process, and restart it as long as that is allowed."""
        try:
            while True:
                reason = await self._live()
                if reason is None or self._closing:
                    return
                self._fail_calls(reason)
                if not self._may_restart(reason):
                    return
                delay = self.spec.limits.delays[
                    min(len(self.crashes), len(self.spec.limits.delays)) - 1
                ]
                self._log.warning("%s; restarting in %.1f s", reason, delay)
                self._set("restarting")
                await asyncio.sleep(delay)
        finally:
            self._fail_calls(f"{self.spec.name}: the worker was stopped")

    def _may_restart(self, reason: str) -> bool:
        limits, now = self.spec.limits, time.monotonic()
        self.crashes.append(now)
        while self.crashes and now - self.crashes[0] > limits.crash_window:
            self.crashes.popleft()
        if len(self.crashes) < limits.crashes:
            return True
        self.failure = (
            f"{self.spec.name}: {reason}; it is disabled after {len(self.crashes)} crashes "
            f"within {limits.crash_window / 60:.0f} minutes. Its log: {self.spec.log}",
            503,
        )
        self._log.error("%s", self.failure[0])
        self._set("quarantined")
        return False

    def _fail_calls(self, reason: str) -> None:
        calls, self._calls = self._calls, {}
        self._stopping.clear()
        for call in calls.values():
            call.fail(reason)

    async def _live(self) -> str | None:
        """Run one process to its end. None: it cannot load; `failure` has the reason."""
        self._set("loading")
        with open_log(self.spec.log) as log:
            start = log.seek(0, os.SEEK_END)
            process = await spawn(log)
        self._process = process
        self._heard = time.monotonic()
        self.post({"op": "start", "entry": self.spec.entry, "config": dict(self.spec.config)})
        watch = asyncio.create_task(self._watch())
        try:
            reason = await self._read(process)
            await process.wait()
        finally:
            watch.cancel()
            end(process)
            with contextlib.suppress(Exception):
                await asyncio.shield(asyncio.wait_for(process.wait(), 5))
            self._process = None
        if self.failure is not None:
            self._set("failed")
            return None
        if reason:
            return reason
        said = last_words(self.spec.log, start)
        ended = f"{self.spec.name}: the worker ended ({exit_text(process.returncode)})"
        return f"{ended}: {said}" if said else ended

    async def _read(self, process: asyncio.subprocess.Process) -> str:
        """Deliver frames to their calls until the pipe closes; the only reader of this process."""
        decoder, reason = FrameDecoder(), ""
        assert process.stdout is not None
        while data := await process.stdout.read(_CHUNK):
            self._heard = time.monotonic()
            try:
                frames = decoder.feed(data)
            except FrameError as error:
                return f"{self.spec.name}: the worker broke its protocol: {error}"
            for frame in frames:
                reason = self._take(frame) or reason
        return reason

    def _take(self, frame: Frame) -> str:
        header = frame.header
        number = header.get("id")
        if number is not None:
            call = self._calls.get(number)
            if header.get("end"):
                self._stopping.pop(number, None)
            if call is not None:
                call.deliver(frame)
            return ""
        match header.get("op"):
            case "beat":
                self.progress = header
            case "ready":
                self.info = header
                self._set("ready")
            case "fatal":
                message = f"{header['message']}. Its log: {self.spec.log}"
                self.failure = (message, int(header["status"]))
            case "crash":
                return f"{self.spec.name}: the worker failed: {header['message']}"
            case _:
                pass
        return ""

    async def _watch(self) -> None:
        """Kill a worker that is silent during work, or does not stop when asked to."""
        limits = self.spec.limits
        while True:
            await asyncio.sleep(min(0.25, limits.cancel / 4, limits.silence / 4))
            now = time.monotonic()
            patience = limits.silence if self.state == "ready" else limits.load
            waiting = bool(self._calls) or self.state != "ready"
            if waiting and now - self._heard > patience:
                self._log.error("no heartbeat for %.0f s: killed", now - self._heard)
                self.kill()
                return
            if any(deadline < now for deadline in self._stopping.values()):
                self._log.error(
                    "a cancelled request did not stop within %.0f s: killed", limits.cancel
                )
                self.kill()
                return
