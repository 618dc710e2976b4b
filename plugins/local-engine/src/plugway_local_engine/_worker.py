"""The worker's side: a child process that runs one engine and exchanges frames with the gateway.

`_boot.py PARENT_PID` calls `main`, which reads a `start` frame that names the engine
(`module:function`) and calls it with a `Channel`. The engine defines what is computed; see
`_supervisor` for how this process is started, watched and stopped.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from plugway_local_engine._frames import Frame, FrameDecoder, FrameError, encode

_log = logging.getLogger(__name__)

BEAT_SECONDS: Final = 1.0
_CHUNK: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1

Entry = Callable[["Channel", Mapping[str, Any]], None]


class LoadFailed(Exception):
    """The engine cannot start as configured; reported to the caller, and not counted as a crash."""

    def __init__(self, message: str, *, status: int = 503) -> None:
        super().__init__(message)
        self.status = status


class EngineFailed(Exception):
    """The engine cannot continue. All callers get the message, so it must not quote a prompt."""


class Channel:
    """The worker's end of the pipes. `send` may be called from any thread."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()
        self._arrived = threading.Condition()
        self._inbox: deque[Frame] = deque()
        self._last_beat = 0.0
        self.on_cancel: Callable[[int], None] = lambda _: None
        """Called by the reading thread when a cancel arrives, before it is in the inbox."""

    def start(self) -> None:
        """Start the reading thread: a cancel must arrive while the engine computes."""
        threading.Thread(target=self._read, name="frames", daemon=True).start()

    def send(self, header: Mapping[str, Any], body: bytes = b"") -> None:
        """Send one frame. Blocks while the gateway does not read, which is the back-pressure."""
        self._write(encode(header, body))

    def send_all(self, headers: Iterable[Mapping[str, Any]]) -> None:
        """Send several frames with one system call."""
        self._write(b"".join(encode(header) for header in headers))

    def _write(self, frames: bytes) -> None:
        data = memoryview(frames)
        with self._lock:
            while data:
                data = data[os.write(self._writer, data) :]

    def beat(self, progress: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Report that the engine's loop is alive, at most once per second, with what `progress`
        returns then: rounds are many times as frequent."""
        now = time.monotonic()
        if now - self._last_beat >= BEAT_SECONDS:
            self._last_beat = now
            self.send({"op": "beat", **progress()})

    def receive(self, timeout: float | None = 0) -> list[Frame]:
        """All frames that have arrived; waits up to `timeout` seconds for the first."""
        if not self._inbox and timeout != 0:
            with self._arrived:
                self._arrived.wait_for(lambda: bool(self._inbox), timeout)
        frames: list[Frame] = []
        while self._inbox:
            frames.append(self._inbox.popleft())
        return frames

    def wake(self) -> None:
        """Wake up a waiting `receive`, because another thread has work for the engine's loop."""
        self.post(Frame({"op": "wake"}))

    def post(self, frame: Frame) -> None:
        """Put a frame into the inbox as if it had arrived."""
        with self._arrived:
            self._inbox.append(frame)
            self._arrived.notify()

    def _read(self) -> None:
        decoder = FrameDecoder()
        try:
            while data := os.read(self._reader, _CHUNK):
                for frame in decoder.feed(data):
                    if frame.header.get("op") == "cancel":
                        self.on_cancel(int(frame.header["id"]))
                    self.post(frame)
        except (OSError, FrameError):
            _log.exception("cannot parse a frame of the gateway")
        # The gateway is gone. The engine's thread may be in native code, so do not wait for it.
        os._exit(0)


def main(network: str) -> None:
    """Set up the process, read the `start` frame, run the engine until the gateway disconnects.

    `network` is the reason why the process could not be disconnected from the network, or empty.
    """
    _die_with_parent(int(sys.argv[1]))
    _no_core_dumps()
    reader, writer = _take_standard_streams()
    channel = Channel(reader, writer)
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    threading.excepthook = lambda args: _log.critical("a thread failed", exc_info=args.exc_value)
    sys.unraisablehook = lambda args: _log.error("a clean-up failed", exc_info=args.exc_value)
    if network:
        _log.warning("the worker keeps access to the network: %s", network)
    channel.start()
    start = channel.receive(None)[0]
    code = 0
    try:
        entry = _entry(str(start.header["entry"]))
        entry(channel, start.header["config"])
    except LoadFailed as error:
        channel.send({"op": "fatal", "message": str(error), "status": error.status})
    except BaseException as error:
        _log.critical("the engine failed", exc_info=True)
        with contextlib.suppress(OSError):
            channel.send({"op": "crash", "message": _said(error)})
        code = 70
    sys.stderr.flush()
    # The destructors of a native engine that failed have nothing to save.
    os._exit(code)


class _Formatter(logging.Formatter):
    """Formats stack traces without the text of exceptions, which may quote a prompt."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name that `logging` calls
        """The stack trace and the type of the exception."""
        return "".join([*traceback.format_tb(ei[2]), _said(ei[1])])


def _said(error: BaseException) -> str:
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, EngineFailed) else name


def _entry(name: str) -> Entry:
    module, _, function = name.partition(":")
    entry: Entry = getattr(importlib.import_module(module), function)
    return entry


def _die_with_parent(parent: int) -> None:
    """Exit with the parent. The closed pipe works on all systems; on Linux the kernel also ends a
    busy native loop."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _no_core_dumps() -> None:
    with contextlib.suppress(ImportError):  # Windows has no such limit
        resource: Any = importlib.import_module("resource")
        # A core dump would contain the conversation.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _take_standard_streams() -> tuple[int, int]:
    """Reserve the pipes for frames: output of native libraries goes to the log."""
    reader, writer = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return reader, writer
