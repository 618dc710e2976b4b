"""What is kept of an exchange when it ends, until it is recorded: names, counts, times and ids.

It must not keep the exchange itself, whose state may hold whole conversations.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from plugway import Attempt, Exchange, Outcome
from plugway_tools import own_usage

_STATUS: Final = re.compile(r"([1-5]\d\d) ")
_KNOWN: Final = frozenset(
    (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 501, 502, 503, 504, 529)
)


class Target(NamedTuple):
    """A model of a backend."""

    backend: str
    zone: str
    model: str


class Layer:
    """The time that one target of an exchange took, with its retries."""

    __slots__ = ("began", "ended", "first", "last", "target")

    def __init__(self, attempt: Attempt, first: int, began: float) -> None:
        """`first` is the index of its first record in `Exchange.attempts`; times are as of
        `time.monotonic`."""
        self.target = target_of(attempt)
        self.first = self.last = first
        self.began = self.ended = began


class Watch:
    """What is remembered of an exchange while it runs."""

    __slots__ = ("layers", "parent", "state", "stream")

    def __init__(self, parent: str | None, state: str, stream: bool) -> None:
        """`parent` and `state` are the client's headers `traceparent` and `tracestate`."""
        self.parent = parent
        self.state = state
        self.stream = stream
        self.layers: list[Layer] = []


class Ended(NamedTuple):
    """An exchange that has ended."""

    id: str
    endpoint: str
    caller: str
    asked: str
    """The model that the client requested."""
    session: str | None
    agent: str | None
    parent_agent: str | None
    began: float
    served_by: Target | None
    attempts: tuple[tuple[str, str, float], ...]
    """Target, result and seconds of each, as in `Exchange.attempts`."""
    outcome: Outcome
    watch: Watch | None
    """None if the request was rejected before the plugins were asked."""


class Sent(NamedTuple):
    """One request to a backend."""

    target: Target
    result: str
    """`answered`, `cancelled`, `timeout`, a status, `error`, or `skipped` if nothing was sent."""
    began: float
    ended: float
    resends: int
    """How often this target was tried before in this exchange."""


def target_of(attempt: Attempt) -> Target:
    """The target of an attempt."""
    return Target(attempt.backend.name, attempt.backend.zone, attempt.model)


def ended_of(exchange: Exchange, outcome: Outcome, watch: Watch | None) -> Ended:
    """What is kept of `exchange`; its usage is that of the requests that it made itself."""
    served = exchange.served_by
    return Ended(
        exchange.id,
        exchange.endpoint,
        exchange.caller.name,
        exchange.model_asked,
        exchange.session_id,
        exchange.agent_id,
        exchange.parent_agent_id,
        exchange.started,
        None if served is None else target_of(served),
        tuple(exchange.attempts),
        outcome._replace(usage=own_usage(exchange, outcome)),
        watch,
    )


def sent_by(ended: Ended) -> list[Sent]:
    """The requests of an exchange with their times.

    The kernel records how long each took. The first of a target begins and the last ends with its
    layer; of three or more, those between are placed evenly, unless this plugin is listed after
    the one that retries.
    """
    found: list[Sent] = []
    for layer in ended.watch.layers if ended.watch else ():
        records = ended.attempts[layer.first : layer.last]
        if not records:
            found.append(Sent(layer.target, "skipped", layer.began, layer.ended, 0))
            continue
        before = 0
        for sent in found:
            before += sent.target == layer.target and sent.result != "skipped"
        if len(records) == 1:
            ((_, result, seconds),) = records
            began = layer.ended - seconds
            found.append(Sent(layer.target, result_of(result), began, layer.ended, before))
        else:
            found += _spread(layer, records, before)
    return found


def _spread(layer: Layer, records: Sequence[tuple[str, str, float]], before: int) -> list[Sent]:
    spent = sum(seconds for _, _, seconds in records)
    pause = max(0.0, layer.ended - layer.began - spent) / (len(records) - 1)
    found: list[Sent] = []
    at = layer.began
    for number, (_, result, seconds) in enumerate(records, start=before):
        found.append(Sent(layer.target, result_of(result), at, at + seconds, number))
        at += seconds + pause
    return found


def result_of(text: str) -> str:
    """The kind of an attempt's result (`AttemptRecord.result`), without its text."""
    if text in ("answered", "cancelled"):
        return text
    if found := _STATUS.match(text):
        return error_type(int(found[1]))
    return "timeout" if "sent no content within" in text else "error"


def error_type(status: int) -> str:
    """A status as one of few values: itself if it is common, else its class."""
    return str(status) if status in _KNOWN else f"{status // 100}xx"


def error_of(outcome: Outcome) -> str:
    """`error.type` of an exchange; empty if it did not fail."""
    if outcome.kind in ("completed", "disconnected"):
        return ""
    return error_type(outcome.status) if outcome.status >= 400 else "stream_interrupted"
