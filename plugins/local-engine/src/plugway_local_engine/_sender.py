"""Send the engine's output to the gateway: replies while they grow, in groups, and failures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plugway_local_engine._job import Job
    from plugway_local_engine._worker import Channel

FLUSH_SECONDS: Final = 0.008
"""Interval within which tokens are sent together: users do not read faster."""


class Sender:
    """Sends the output of jobs to the gateway."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._flushed = 0.0

    def flush(self, running: Sequence[Job]) -> None:
        """Send the new output, unless the last time was a moment ago."""
        now = time.monotonic()
        first = any(len(job.generated) == 1 for job in running)
        if first or now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            for job in running:
                job.ops += job.output.drain()
            self.send([job for job in running if job.ops or job.notes])

    def send(self, jobs: Sequence[Job]) -> None:
        """Send all output of these jobs."""
        headers: list[dict[str, Any]] = []
        for job in jobs:
            ops = [*(["note", note] for note in job.notes), *job.ops]
            header: dict[str, Any] = {"id": job.number, "ops": ops}
            if job.finished:
                header["end"] = True
            headers.append(header)
            job.ops, job.notes = [], []
        if headers:
            self._channel.send_all(headers)

    def fail(self, job: Job, message: str) -> None:
        """End one request with an error; the others continue."""
        error = {"message": message, "status": 500}
        self._channel.send({"id": job.number, "end": True, "error": error})
