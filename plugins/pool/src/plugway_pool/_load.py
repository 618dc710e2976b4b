"""A server's load, as its own metrics report it: parsed with limits, because they may be wrong.

Names: `vllm/v1/metrics/loggers.py` of vLLM, `srt/metrics/collector.py` of SGLang, and
`tools/server/README.md` of llama.cpp (`/metrics` with `--metrics`, otherwise `/slots`).
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

import orjson

from plugway import as_list, as_object

MAX_BYTES: Final = 4 * 2**20
"""Largest page that is read; a large vLLM server has some hundred kilobytes."""
_MOST: Final = 100_000
"""More requests than any server has; larger values are ignored."""
_GAUGE: Final = re.compile(
    rb"^(?:(?P<running>vllm:num_requests_running|sglang:num_running_reqs"
    rb"|llamacpp:requests_processing)"
    rb"|(?P<waiting>vllm:num_requests_waiting|sglang:num_queue_reqs|llamacpp:requests_deferred))"
    rb"(?:\{[^\n]*\})?[ \t]+(?P<value>[^\s]{1,40})",
    re.MULTILINE,
)


class Load(NamedTuple):
    """Requests at a server, whoever sent them."""

    running: int
    waiting: int
    slots: int = 0
    """Requests that it can run at once; 0 if unknown."""


def load_in(page: bytes) -> Load | None:
    """The load in a page of Prometheus metrics; None if it has no known or no plausible value.

    A server with several engines has one line for each.
    """
    found = {"running": 0.0, "waiting": 0.0}
    seen = False
    for match in _GAUGE.finditer(page):
        try:
            value = float(match["value"])
        except ValueError:
            return None
        if not (math.isfinite(value) and 0 <= value <= _MOST):
            return None
        found["running" if match["running"] else "waiting"] += value
        seen = True
    if not seen or max(found.values()) > _MOST:
        return None
    return Load(int(found["running"]), int(found["waiting"]))


def load_of_slots(page: bytes) -> Load | None:
    """The load in llama-server's `/slots`, which does not list waiting requests."""
    try:
        slots = [as_object(slot) for slot in as_list(orjson.loads(page))]
    except orjson.JSONDecodeError:
        return None
    if not slots or not all(isinstance(slot.get("is_processing"), bool) for slot in slots):
        return None
    return Load(sum(slot["is_processing"] for slot in slots), 0, len(slots))
