"""The queue of records and the thread that writes them, so that the event loop never waits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from plugway_audit_log._appender import Appender, now
from plugway_audit_log._chain import Signer
from plugway_audit_log._options import AuditLogOptions

RETRY_SECONDS: Final = 0.5
_GATHER_SECONDS: Final = 0.005
"""Records are written together if they come within this time."""
_BATCH: Final = 256

Make = Callable[[], Mapping[str, Any]]
"""Returns a record; called in the thread, so that the request does not wait for it."""


class Writer:
    """Writes the records of one gateway. After a reload the new configuration uses it too."""

    def __init__(
        self, folder: Path, signer: Signer, options: AuditLogOptions, log: logging.Logger
    ) -> None:
        """Raises `PlugwayError` or `OSError` if the log cannot be opened."""
        self.folder = folder
        self.signer = signer
        self.log = log
        self.owners: list[AuditLogOptions] = []
        """The options of each configuration that uses it; the last ones apply."""
        self.problem = ""
        """Why records cannot be written now; empty if they can."""
        self.reserved = 0
        """Requests in flight whose records have a place."""
        self.lost = 0
        """Records that had no place."""
        self._stated = 0
        """How many of them the log states."""
        self._limit = options.queue
        self._queue: deque[Make] = deque()
        self._appender = Appender(folder, signer, options)
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plugway-audit-log", daemon=True)

    @property
    def chain(self) -> str:
        """The name of the chain."""
        return self._appender.chain.name

    @property
    def waiting(self) -> int:
        """Records that wait to be written."""
        return len(self._queue)

    @property
    def clean(self) -> bool:
        """Whether the gateway that wrote the chain before was stopped, not killed."""
        return self._appender.clean

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def begin(self, options: AuditLogOptions) -> None:
        """Use the options of another configuration from now on."""
        self.owners.append(options)
        self._configure()

    def end(self, options: AuditLogOptions) -> bool:
        """A configuration has ended; whether it was the newest of several, so that its reload was
        undone."""
        undone = self.owners[-1] is options and len(self.owners) > 1
        self.owners = [one for one in self.owners if one is not options]
        self._configure()
        return undone

    def _configure(self) -> None:
        if self.owners:
            self._limit = self.owners[-1].queue
            self._appender.options = self.owners[-1]

    @property
    def has_room(self) -> bool:
        """Whether the record of one more request has a place."""
        return len(self._queue) + self.reserved < self._limit

    def put(self, make: Make, *, reserved: bool = False) -> None:
        """Add a record. Without a reserved place it is lost if the queue is full."""
        if not reserved and not self.has_room:
            self.lost += 1
            return
        self._queue.append(make)
        self._wake.set()

    def close(self, make: Make) -> None:
        """Write what is left and a last record, and release the chain; blocks."""
        self.put(make, reserved=True)
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=5)

    # ── in the thread ────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            self._write_until_closed()
            if not self._attempt(self._last):
                self.log.error("%d records were not written", len(self._queue))
        finally:
            self.problem = self.problem or "its thread has stopped"

    def _write_until_closed(self) -> None:
        appender, due = self._appender, time.monotonic()
        while not self._closing.is_set():
            self._wake.wait(timeout=appender.options.interval_seconds)
            self._closing.wait(_GATHER_SECONDS)
            self._wake.clear()
            while self._queue and not self._closing.is_set():
                if not self._attempt(self._some):
                    self._closing.wait(RETRY_SECONDS)
                elif appender.options.fsync == "always":
                    self._attempt(appender.sync)
            if time.monotonic() >= due:
                self._attempt(appender.sync)
                due = time.monotonic() + appender.options.interval_seconds

    def _some(self) -> None:
        """Write the next records. They leave the queue when the disk has them."""
        self._appender.write()
        if new := self.lost - self._stated:
            self._appender.add({"kind": "lost", "time": now(), "records": new})
            self._stated += new
        for _ in range(min(len(self._queue), _BATCH)):
            self._next()
        self._appender.write()

    def _next(self) -> None:
        """Add the next record. One that cannot be built or encoded is stated as lost."""
        try:
            self._appender.add(self._queue[0]())
        except OSError:
            raise
        except Exception:  # the exchange is over, and the next ones must be recorded
            self.log.exception("a record of the audit log cannot be written")
            self._appender.add({"kind": "lost", "time": now(), "records": 1})
        self._queue.popleft()

    def _last(self) -> None:
        while len(self._queue) > 1:
            self._next()
        self._appender.close(self._queue[0]() if self._queue else None)

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Whether an action on the disk succeeded; the first failure in a row is logged."""
        try:
            action()
        except OSError as error:
            if not self.problem:
                self.log.error("the audit log cannot be written: %s", error)  # noqa: TRY400
            self.problem = error.strerror or type(error).__name__
            return False
        if self.problem:
            self.log.warning("the audit log can be written again")
        self.problem = ""
        return True
