"""What an attempt used, according to its reply, or at most. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from plugway import Reply, Usage, as_object
from plugway_budgets._limits import MOST, Demand

_COUNTS: Final = ("input", "output", "cache_read_input", "cache_creation_input")
_BYTES_PER_TOKEN: Final = 3
"""Fewer than in text and code, so that a prompt is rather counted too long."""


@runtime_checkable
class Followed(Protocol):
    """A stream that remembers its last events."""

    @property
    def finished(self) -> bool:
        """Whether its end has passed."""
        ...

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last event of that name."""
        ...


class Used(NamedTuple):
    """What a reply reports."""

    usage: Usage | None
    """None if it reports nothing."""
    written_1h: int | None = None
    """Tokens written to the cache for an hour; None if that is not reported."""
    counted: bool = True
    """Whether the output is counted to its end."""
    ended: bool = True
    """Whether the reply came to its end."""


class Cost(NamedTuple):
    """Tokens and nano-dollars of an attempt."""

    usage: Usage
    nano: int | None
    measured: bool


def used_by(reply: Reply) -> Used | None:
    """What a reply reports so far; None if only the kernel can read it."""
    if reply.dialect:
        return None
    if reply.body is not None:
        return _used(as_object(reply.parsed.get("usage")), counted=True, ended=True)
    stream = reply.events if reply.chunks is None else reply.chunks
    if not isinstance(stream, Followed):
        return None
    start = as_object(as_object(stream.data("message_start").get("message")).get("usage"))
    end = as_object(stream.data("message_delta").get("usage"))
    last = {name: value for name, value in end.items() if value is not None}
    return _used({**start, **last}, counted="output_tokens" in last, ended=stream.finished)


def read_by_kernel(usage: Usage, *, completed: bool) -> Used:
    """What the kernel read from a reply at its end."""
    return Used(usage if prompt_of(usage) else None, None, completed, completed)


def _used(usage: Mapping[str, Any], *, counted: bool, ended: bool) -> Used:
    found = Usage(*(_count(usage.get(f"{name}_tokens")) for name in _COUNTS))
    if not prompt_of(found):
        return Used(None, ended=ended)
    hour = as_object(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")
    return Used(found, _count(hour) if isinstance(hour, int) else None, counted, ended)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**40 else 0


def prompt_of(usage: Usage) -> int:
    """All tokens of the prompt."""
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens


CUT: Final = Used(None, counted=False, ended=False)
"""A request whose reply did not begin."""


def cost_of(demand: Demand, used: Used, *, size: int, seconds: float, speed: int) -> Cost:
    """What to book for an attempt.

    If its reply ended without a usage, all that was reserved. If it was cut off, what the server
    reported of the prompt (otherwise an estimate from its `size` in bytes), and as many tokens of
    output as a server makes in that time at most.
    """
    usage, most = used.usage, demand.most * demand.replies
    if usage is not None and used.counted:
        return _priced(demand, usage, used.written_1h, measured=True)
    if used.ended:
        return _at_most(demand, Usage(demand.prompt, most))
    output = min(most, math.ceil(max(0.0, seconds) * speed))
    if usage is not None:
        usage = usage._replace(output_tokens=max(output, usage.output_tokens))
        return _priced(demand, usage, used.written_1h, measured=False)
    return _at_most(demand, Usage(min(demand.prompt, size // _BYTES_PER_TOKEN + 1), output))


def _priced(demand: Demand, usage: Usage, written_1h: int | None, *, measured: bool) -> Cost:
    if demand.price is None:
        return Cost(usage, None, measured)
    nano = demand.price.cost(usage, written_1h=written_1h, long=demand.long)
    return Cost(usage, min(nano, MOST), measured)


def _at_most(demand: Demand, usage: Usage) -> Cost:
    price = demand.price
    if price is None:
        return Cost(usage, None, measured=False)
    nano = price.worst_case(usage.input_tokens, usage.output_tokens, long=demand.long)
    return Cost(usage, min(nano, MOST), measured=False)
