"""What the gateway ran in an exchange, without contents, for plugins that record it."""

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


RUN_CALLS: Final[StateKey[list[RunCall]]] = StateKey("tools.run-calls")


def record_run(exchange: Exchange, call: RunCall) -> None:
    """Add a call that the gateway ran or refused."""
    calls = exchange.state.get(RUN_CALLS)
    if calls is None:
        calls = exchange.state[RUN_CALLS] = list[RunCall]()
    calls.append(call)
