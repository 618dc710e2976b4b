"""What the engine tells the gateway: replies as they grow, bundled, and failures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plugway_llama_cpp._job import Job
    from plugway_local_engine import Channel

FLUSH_SECONDS: Final = 0.008
"""Tokens that come faster than this travel together: nobody reads that fast."""


class Teller:
    """The engine's voice."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._flushed = 0.0

    def flush(self, running: Sequence[Job]) -> None:
        """Send what has been said since the last time, unless that was a moment ago."""
        now = time.monotonic()
        first = any(len(job.generated) == 1 for job in running)
        if first or now - self._flushed >= FLUSH_SECONDS:
            self._flushed = now
            for job in running:
                job.ops += job.output.drain()
            self.send([job for job in running if job.ops or job.notes])

    def send(self, jobs: Sequence[Job]) -> None:
        """Send all that these jobs have to say."""
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
        """End one request with an error; the others go on."""
        error = {"message": message, "status": 500}
        self._channel.send({"id": job.number, "end": True, "error": error})
