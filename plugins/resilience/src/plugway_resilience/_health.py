"""Health of each target, and the choice of targets to try.

Bounded: a client can request any model of a backend, so the oldest entries are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from plugway import Bounded
from plugway_endpoints import TargetHealth
from plugway_resilience._breaker import Breaker, BreakerRules
from plugway_resilience._policy import Kind

MAX_TARGETS: Final = 1000


@dataclass(frozen=True, slots=True)
class Block:
    """Why a target is skipped, and until when."""

    kind: Kind
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Key:
    """A target, and the credential that is used for it."""

    target: str
    credential: Hashable

    @property
    def names(self) -> tuple[Hashable, ...]:
        """Keys under which a block may be stored."""
        return self.credential, (self.target, self.credential), self.target


class Health:
    """The circuits of targets, and the waits that they requested."""

    def __init__(self, rules: BreakerRules, chance: Callable[[], float]) -> None:
        self._rules = rules
        self._chance = chance
        self._breakers: Bounded[str, Breaker] = Bounded(MAX_TARGETS)
        self._blocks: Bounded[Hashable, Block] = Bounded(MAX_TARGETS)
        """Blocks by target, by credential, or by both."""
        self._open: set[str] = set()
        """Targets whose circuit is open; while empty, lookups cost nothing."""

    def breaker(self, target: str) -> Breaker:
        """The circuit of a target."""
        found = self._breakers.get(target)
        if found is None:
            found = Breaker(self._rules, self._chance)
            self._breakers[target] = found
        return found

    def block(self, key: Hashable, block: Block) -> None:
        """Skip a target, or all targets that share a credential."""
        self._blocks[key] = block

    def clear(self, key: Key) -> None:
        """The target replied: remove the blocks of it and of its credential."""
        for name in key.names:
            self._blocks.pop(name, None)
        self._open.discard(key.target)

    def opened(self, target: str) -> None:
        """The circuit of a target was opened."""
        self._open.add(target)

    @property
    def well(self) -> bool:
        """Whether no target is blocked."""
        return not self._blocks and not self._open

    def blocked(self, key: Key, now: float) -> Block | None:
        """Why the target is skipped now; None if it may be tried."""
        for name in key.names:
            block = self._blocks.get(name)
            if block is not None and block.until > now:
                return block
            if block is not None:
                del self._blocks[name]
        breaker = self._breakers.get(key.target)
        if breaker is None or breaker.open_until is None:
            self._open.discard(key.target)
            return None
        if breaker.ready(now):
            return None
        if breaker.open_until > now:
            return Block(Kind.SERVER, breaker.open_until, "it failed too often")
        return Block(Kind.SERVER, now, "it failed too often and is being retried")

    def report(self, now: float) -> list[TargetHealth]:
        """The targets that failed lately."""
        found: list[TargetHealth] = []
        for name, block in self._blocks.items():
            if block.until > now:
                found.append(TargetHealth(_shown(name), "skipped", block.reason, block.until - now))
        for target, breaker in self._breakers.items():
            if breaker.open_until is not None:
                probing = breaker.probing or breaker.open_until <= now
                reason = "it failed too often"
                left = max(0.0, breaker.open_until - now)
                found.append(
                    TargetHealth(target, "probing" if probing else "skipped", reason, left)
                )
            elif breaker.failures:
                last = breaker.failures
                reason = "its last call failed" if last == 1 else f"its last {last} calls failed"
                found.append(TargetHealth(target, "failing", reason))
        return found


def _shown(name: Hashable) -> str:
    """The target or the backend of a block's key, without what identifies a credential."""
    text: Any = name
    while isinstance(text, tuple):
        text = cast("tuple[Any, ...]", text)[0]
    return str(text)


def choose(blocks: Sequence[Block | None]) -> list[int]:
    """Indices of the targets to try: those that are not blocked.

    If all are blocked, the one that is available first: the last target is never skipped.
    """
    free = [index for index, block in enumerate(blocks) if block is None]
    if free or not blocks:
        return free
    untils = [block.until for block in blocks if block is not None]
    return [untils.index(min(untils))]
