"""Tokens served by the gateway since its start, by target and by session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from plugway import Bounded, Exchange, Outcome, Usage
from plugway_tools import own_usage

MAX_SESSIONS: Final = 256
MAX_TARGETS: Final = 200
Cost = Callable[[str, Usage], float | None]


@dataclass(slots=True)
class Total:
    """The tokens of one target."""

    exchanges: int = 0
    failed: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0

    def add(self, exchange: Exchange, outcome: Outcome) -> None:
        """Add an exchange, with the tokens of the requests that it made itself."""
        usage = own_usage(exchange, outcome)
        self.exchanges += 1
        self.failed += outcome.kind != "completed"
        self.input += usage.input_tokens + usage.cache_creation_tokens
        self.cached += usage.cache_read_tokens
        self.output += usage.output_tokens

    @property
    def usage(self) -> Usage:
        """The sums as one usage."""
        return Usage(self.input, self.output, self.cached)


Table = Bounded[str, Total]


class Totals:
    """All targets, and those of each session."""

    def __init__(self) -> None:
        self.targets: Table = Table(MAX_TARGETS)
        self._sessions: Bounded[str, Table] = Bounded(MAX_SESSIONS)

    def add(self, exchange: Exchange, outcome: Outcome) -> None:
        """Add a finished exchange that a backend served."""
        served = exchange.served_by
        if served is None or exchange.endpoint != "messages":
            return
        _entry(self.targets, served.target).add(exchange, outcome)
        session = exchange.session_id
        if session and len(session) <= 200:
            table = self._sessions.get(session) or Table(MAX_TARGETS)
            self._sessions[session] = table
            _entry(table, served.target).add(exchange, outcome)

    def of(self, session: str | None) -> Mapping[str, Total]:
        """The totals of a session by target."""
        return self._sessions.get(session or "") or {}


def _entry(table: Table, target: str) -> Total:
    total = table[target] = table.get(target) or Total()
    return total


def report(totals: Mapping[str, Total], cost: Cost) -> list[str]:
    """A line for each target, and the sum of the known costs."""
    lines: list[str] = []
    dollars = 0.0
    unknown: list[str] = []
    for target, total in totals.items():
        price = cost(target, total.usage)
        paid = "" if price is None else f", ${price:.4f}"
        failed = f", {total.failed} not completed" if total.failed else ""
        lines.append(
            f"- `{target}`: {total.exchanges} exchanges{failed}, {total.input:,} tokens in, "
            f"{total.cached:,} from caches, {total.output:,} out{paid}"
        )
        dollars += price or 0.0
        unknown += [f"`{target}`"] if price is None else []
    if lines:
        missing = f"; no price configured for {', '.join(unknown)}" if unknown else ""
        lines.append(f"Sum: ${dollars:.4f}{missing}.")
    return lines
