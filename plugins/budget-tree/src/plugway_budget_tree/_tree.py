"""What a conversation with its subagents has spent and reserved, in memory.

All methods are plain functions of one event loop, so each is atomic.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import anyio

from plugway import Usage
from plugway_budget_tree._limits import Limits
from plugway_prices import Price, dollars

AGENT_IDLE_SECONDS: Final = 600.0
"""A subagent whose last reply called a tool works on, at most this long without a request."""
_MAX_AGENTS: Final = 4096


@dataclass(frozen=True, eq=False, slots=True)
class Reservation:
    """What a call may cost at most, until it is settled."""

    price: Price | None
    """None if no price is known; then no dollar limit holds."""
    prompt: int
    """Estimated tokens of the prompt."""
    reply: int
    """Maximum tokens of the reply."""
    long: bool
    """Whether the request asks for cache entries that live long."""
    nano: int
    began: float = field(default_factory=time.monotonic)

    @property
    def tokens(self) -> int:
        """The reserved tokens."""
        return self.prompt + self.reply


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a call cannot be made."""

    kind: Literal["nano", "tokens", "calls"]
    """The limit that was reached."""
    what: str
    """What has been spent, as a clause."""
    temporary: bool
    """Whether running calls may give back enough."""


class Totals(NamedTuple):
    """Sums over calls."""

    nano: int = 0
    """Nano-dollars."""
    tokens: int = 0
    calls: int = 0
    unpriced: int = 0

    def plus(self, other: Totals) -> Totals:
        """The sums of both."""
        return Totals(*(a + b for a, b in zip(self, other, strict=True)))


class Tree:
    """One conversation with its subagents."""

    def __init__(self, name: str, caller: str) -> None:
        self.name = name
        self.caller = caller
        self.asked = Limits()
        """Limits that the user has set with a line."""
        self.limits = Limits()
        """The limits of the last request."""
        self.own = Totals()
        """What was spent by this run of the gateway."""
        self.others = Totals()
        """What was spent by earlier runs and by other gateways, if a database is configured."""
        self.known = False
        """Whether the database has been read."""
        self.used = time.time()
        self.agents: dict[str, float] = {}
        """Subagents that work, and when each was last seen."""
        self._open: set[Reservation] = set()
        self._changed = anyio.Event()

    # ── what is spent ────────────────────────────────────────────────────────────────────────

    @property
    def nano(self) -> int:
        """Nano-dollars."""
        return self.own.nano + self.others.nano

    @property
    def tokens(self) -> int:
        """Tokens of prompts and replies."""
        return self.own.tokens + self.others.tokens

    @property
    def calls(self) -> int:
        """Requests to models."""
        return self.own.calls + self.others.calls

    @property
    def unpriced(self) -> int:
        """Calls whose price is not known."""
        return self.own.unpriced + self.others.unpriced

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    @property
    def reserved(self) -> tuple[int, int]:
        """Nano-dollars and tokens of running calls."""
        return sum(r.nano for r in self._open), sum(r.tokens for r in self._open)

    @property
    def running(self) -> int:
        """The number of running calls."""
        return len(self._open)

    def reserve(
        self,
        limits: Limits,
        price: Price | None,
        prompt: int,
        wanted: int,
        least: int,
        *,
        long: bool = False,
    ) -> Reservation | Shortage:
        """Reserve a call with a reply of `wanted` tokens, or of what is left, at least `least`."""
        if limits.calls is not None and self.calls + len(self._open) >= limits.calls:
            made = f"has made {self.calls + len(self._open):,} of {limits.calls:,} calls"
            return Shortage("calls", made, False)
        least = min(least, wanted)
        now = self._affordable(limits, price, prompt, wanted, *self.reserved, long=long)
        if now < least:
            later = self._affordable(limits, price, prompt, wanted, 0, 0, long=long)
            return self._shortage(limits, prompt + least, temporary=later >= least)
        nano = 0 if price is None else price.worst_case(prompt, now, long=long)
        made = Reservation(price, prompt, now, long, nano)
        self._open.add(made)
        self.used = time.time()
        return made

    def _affordable(
        self,
        limits: Limits,
        price: Price | None,
        prompt: int,
        wanted: int,
        nano: int,
        tokens: int,
        *,
        long: bool,
    ) -> int:
        """Tokens of a reply that the limits pay for, with so much reserved."""
        found = wanted
        if limits.nano is not None and price is not None:
            paid = price.affordable(limits.nano - self.nano - nano, prompt, long=long)
            found = found if paid is None else min(found, paid)
        if limits.tokens is not None:
            found = min(found, limits.tokens - self.tokens - tokens - prompt)
        return found

    def settle(self, reservation: Reservation, usage: Usage | None) -> None:
        """Count what a call has used, or nothing for one that was not made (None)."""
        if reservation not in self._open:
            return
        self._open.remove(reservation)
        if usage is not None:
            price = reservation.price
            cost = price.cost(usage, long=reservation.long) if price is not None else 0
            self.own = self.own.plus(Totals(cost, sum(usage), 1, int(price is None)))
        self.used = time.time()
        self._changed.set()
        self._changed = anyio.Event()

    async def change(self) -> None:
        """Wait until a running call is settled."""
        await self._changed.wait()

    def _shortage(self, limits: Limits, needed: int, *, temporary: bool) -> Shortage:
        nano, tokens = self.reserved
        most = limits.tokens
        if most is not None and most - self.tokens - tokens < needed:
            kind, spent, of = "tokens", f"{self.tokens:,}", f"{most:,} tokens"
            held = f"{tokens:,}" if tokens else ""
        else:
            kind, spent, of = "nano", dollars(self.nano), dollars(limits.nano or 0)
            held = dollars(nano) if nano else ""
        what = f"has spent {spent} of {of}"
        if held:
            what += f", running calls have reserved {held}"
        return Shortage(kind, f"{what}, and the rest does not pay for another reply", temporary)

    # ── subagents ────────────────────────────────────────────────────────────────────────────

    def begin_agent(self, agent: str, most: int | None) -> bool:
        """Whether a subagent may send a request: it works already, or there is a place for it."""
        now = time.monotonic()
        for name in [n for n, seen in self.agents.items() if now - seen > AGENT_IDLE_SECONDS]:
            del self.agents[name]
        if most is not None and agent not in self.agents and len(self.agents) >= most:
            return False
        if agent in self.agents or len(self.agents) < _MAX_AGENTS:
            self.agents[agent] = now
        return True

    def end_agent(self, agent: str) -> None:
        """A subagent's last reply called no tool, or failed."""
        self.agents.pop(agent, None)

    def report(self) -> dict[str, Any]:
        """What is spent, for `plugway budget`."""
        nano, tokens = self.reserved
        return {
            "conversation": self.name,
            "caller": self.caller,
            "used": int(self.used),
            "dollars": self.nano / 1e9,
            "dollars_reserved": nano / 1e9,
            "tokens": self.tokens,
            "tokens_reserved": tokens,
            "calls": self.calls,
            "calls_running": self.running,
            "calls_unpriced": self.unpriced,
            "agents": len(self.agents),
            "limits": self.limits._asdict(),
        }


class Trees:
    """The conversations, the least recently used first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._trees: OrderedDict[str, Tree] = OrderedDict()

    def of(self, name: str, caller: str) -> Tree:
        """The conversation with that name. Conversations with running calls are never dropped."""
        tree = self._trees.get(name)
        if tree is None:
            tree = self._trees[name] = Tree(name, caller)
            if len(self._trees) > self.most:
                idle = next((n for n, one in self._trees.items() if not one.running), None)
                if idle is not None and idle != name:
                    del self._trees[idle]
        self._trees.move_to_end(name)
        return tree

    def __iter__(self) -> Iterator[Tree]:
        return iter(self._trees.values())

    def find(self, name: str) -> Tree | None:
        """The conversation, if it is remembered."""
        return self._trees.get(name)
