"""How far the requests of a worker are, from its last heartbeat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from plugway_local_models import Progress

if TYPE_CHECKING:
    from plugway_local_engine._job import Job


def reported(running: Iterable[Job], waiting: Iterable[Job]) -> Mapping[str, Any]:
    """Fields of a heartbeat: for each running request `[number, read, prompt, written]` in tokens,
    and the numbers of those that wait, in order."""
    jobs = [
        [
            job.number,
            len(job.prompt) if job.prefilled or job.slot is None else job.slot.length,
            len(job.prompt),
            len(job.generated),
        ]
        for job in running
    ]
    return {"jobs": jobs, "queue": [job.number for job in waiting]}


def seen(beat: Mapping[str, Any], number: int) -> Progress:
    """How far a request is, from what `reported` returned."""
    jobs: list[list[int]] = beat.get("jobs", [])
    queue: list[int] = beat.get("queue", [])
    for job, read, of, written in jobs:
        if job == number:
            return Progress(read=min(read, of), of=of, written=written)
    if number in queue:
        return Progress(ahead=len(jobs) + queue.index(number))
    return Progress()
