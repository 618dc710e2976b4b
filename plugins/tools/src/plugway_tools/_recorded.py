"""What happened to tool calls in an exchange, without contents, for plugins that record it."""

from __future__ import annotations

from typing import Final, NamedTuple

from plugway import Exchange, StateKey


class RunCall(NamedTuple):
    """A call that the gateway ran, or refused to run."""

    name: str
    outcome: str
    """`ran`, `failed`, `stopped`, `refused` or `not run`."""
    arguments: str
    """A hash of the arguments."""
    ms: float
    size: int
    """Characters of the result."""


class JudgedCall(NamedTuple):
    """A call of a reply on which a plugin gave a verdict."""

    name: str
    verdict: str
    reason: str
    """Without parts that are copied from the call."""


RUN_CALLS: Final[StateKey[list[RunCall]]] = StateKey("tools.run-calls")
JUDGED_CALLS: Final[StateKey[list[JudgedCall]]] = StateKey("tools.judged-calls")


def record_run(exchange: Exchange, call: RunCall) -> None:
    """Add a call that the gateway ran or refused."""
    calls = exchange.state.get(RUN_CALLS)
    if calls is None:
        calls = exchange.state[RUN_CALLS] = list[RunCall]()
    calls.append(call)


def record_judged(exchange: Exchange, call: JudgedCall) -> None:
    """Add a call on which a verdict was given."""
    calls = exchange.state.get(JUDGED_CALLS)
    if calls is None:
        calls = exchange.state[JUDGED_CALLS] = list[JudgedCall]()
    calls.append(call)
