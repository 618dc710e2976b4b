"""What plugins that run or judge calls leave in `Exchange.state`, for plugins that show it."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from plugway import Exchange, Outcome, StateKey, Usage
from plugway_tools._protocols import Verdict
from plugway_tools._replies import tokens

MAX_JUDGED: Final = 64
"""Most verdicts of one exchange that are kept."""
_QUOTED: Final = re.compile(r"`[^`]*`:?")


class RunningTool(NamedTuple):
    """A tool that the gateway runs now."""

    name: str
    since: float
    """When it began (`time.monotonic()`)."""


@dataclass(slots=True)
class LoopProgress:
    """What the loop of an exchange does now; nothing while the model writes."""

    tools: dict[str, RunningTool] = field(default_factory=dict[str, RunningTool])
    """The calls that run, by their ids."""
    asking_since: float | None = None
    """When the model was asked again, with results; None once it answers."""
    usages: list[Usage] = field(default_factory=list[Usage])
    """Tokens of each request that it made."""


class Judged(NamedTuple):
    """A verdict on a call of an exchange."""

    tool: str
    kind: str
    """`allowed`, `denied` or `undecided`."""
    reason: str
    """Without the parts that quote the call."""


_PROGRESS: Final[StateKey[LoopProgress]] = StateKey("tools.progress")
_VERDICTS: Final[StateKey[list[Judged]]] = StateKey("tools.verdicts")
_NOTHING: Final[Mapping[str, RunningTool]] = {}


def _progress(exchange: Exchange) -> LoopProgress:
    found = exchange.state.get(_PROGRESS)
    if found is None:
        found = exchange.state[_PROGRESS] = LoopProgress()
    return found


@contextmanager
def running_tool(exchange: Exchange, identifier: str, name: str) -> Generator[None]:
    """A call of a tool, which runs inside the block."""
    tools = _progress(exchange).tools
    tools[identifier] = RunningTool(name, time.monotonic())
    try:
        yield
    finally:
        tools.pop(identifier, None)


@contextmanager
def asking(exchange: Exchange) -> Generator[None]:
    """The model is asked again, with results, inside the block."""
    progress = _progress(exchange)
    progress.asking_since = time.monotonic()
    try:
        yield
    finally:
        progress.asking_since = None


def running_tools(exchange: Exchange) -> Mapping[str, RunningTool]:
    """The tools that the gateway runs for it now, by the ids of their calls."""
    found = exchange.state.get(_PROGRESS)
    return _NOTHING if found is None else found.tools


def asking_since(exchange: Exchange) -> float | None:
    """When its model was asked again with results that it has not answered yet."""
    found = exchange.state.get(_PROGRESS)
    return None if found is None else found.asking_since


def record_usage(exchange: Exchange, usage: Mapping[str, Any]) -> None:
    """Keep the usage of one of its requests to the model, as the API reports it."""
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    counts = (tokens(usage, name) for name in (*names, "cache_creation_input_tokens"))
    _progress(exchange).usages.append(Usage(*counts))


def own_usages(exchange: Exchange, outcome: Outcome) -> Sequence[Usage]:
    """The usage of each request to a model that the exchange made: several in a loop of tools, of
    which the client's reply has the prompt of the last one only; none if it joined the reply to
    another exchange, which has that usage."""
    if exchange.served_by is not None and not exchange.answers:
        return ()
    found = exchange.state.get(_PROGRESS)
    return (found and found.usages) or (outcome.usage,)


def own_usage(exchange: Exchange, outcome: Outcome) -> Usage:
    """The sum of `own_usages`."""
    return Usage(*map(sum, zip(*own_usages(exchange, outcome), strict=True)))


def record_verdict(exchange: Exchange, tool: str, verdict: Verdict, *, quotes: bool = True) -> None:
    """Keep a verdict on a call; `quotes` says that its reason may quote the call in backticks."""
    found = exchange.state.get(_VERDICTS)
    if found is None:
        found = exchange.state[_VERDICTS] = []
    if len(found) < MAX_JUDGED:
        reason = unquoted(verdict.reason) if quotes else verdict.reason
        found.append(Judged(tool[:80], verdict.kind, reason[:300]))


def verdicts_of(exchange: Exchange) -> list[Judged]:
    """The verdicts on its calls, in order."""
    return exchange.state.get(_VERDICTS) or []


def unquoted(reason: str) -> str:
    """A reason without its parts in backticks, which may be copied from a call."""
    return _QUOTED.sub("", reason).strip(" :")
