"""Exact counts of prompts, by the backends that will get them."""

from __future__ import annotations

import logging
import math
import time
from typing import Any, Final

import anyio
import orjson

from plugway import Attempt, BackendError, MessagesRequest, Reply, RequestRejected, as_object

COUNT_SECONDS: Final = 0.8
"""Time limit for a count; together with listing windows it must stay under the kernel's 2 s for a
hook."""
LATE_SECONDS: Final = 300.0
"""How long a backend that did not count in time is not asked about prompts of that size."""


class ExactCounts:
    """Asks backends for counts, as long as they count and do so in time."""

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._uncountable: set[str] = set()
        self._late: dict[str, tuple[float, float]] = {}
        """Bytes of a prompt that a backend did not count in time, and until when that counts."""

    async def of(self, request: MessagesRequest, attempt: Attempt) -> int | None:
        """The tokens of a prompt; None if its backend does not count, or takes too long."""
        name, size = attempt.backend.name, len(request.raw)
        if name in self._uncountable or size >= self._late_from(name):
            return None
        counted: Any = None
        try:
            with anyio.fail_after(COUNT_SECONDS):
                counted = await attempt.backend.count(request, attempt)
        except TimeoutError:
            least = min(size, self._late_from(name))
            self._late[name] = least, time.monotonic() + LATE_SECONDS
            self._log.info("`%s` did not count tokens: timed out", attempt.target)
            return None
        except (BackendError, RequestRejected) as error:
            self._log.info("`%s` did not count tokens: %s", attempt.target, error.record)
            return None
        if isinstance(counted, Reply):
            counted = tokens_in(counted)
        if not isinstance(counted, int) or counted <= 0:
            self._uncountable.add(name)
            return None
        return counted

    def _late_from(self, name: str) -> float:
        """The bytes from which on a backend does not count in time, as far as that is known."""
        least, until = self._late.get(name, (0, 0.0))
        return least if time.monotonic() < until else math.inf


def tokens_in(reply: Reply) -> int:
    """The count in a reply to `count_tokens`, or 0."""
    try:
        counted = as_object(orjson.loads(reply.body or b"")).get("input_tokens")
    except orjson.JSONDecodeError:
        return 0
    return counted if isinstance(counted, int) and counted > 0 else 0
