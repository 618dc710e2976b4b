"""Limits of a conversation, and how a header or a typed line writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from plugway_prices import dollars, nano_dollars

_ITEM: Final = re.compile(
    r"(?P<sign>\$)?\s*(?P<number>(?:\d{1,3}(?:,\d{3})+|\d{1,12})(?:\.\d{1,9})?)\s*(?P<times>[km])?"
    r"(?:\s*(?P<unit>dollars?|usd|tokens?|calls?|requests?|(?:sub)?agents?))?",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"\s*(?:,|;|\band\b)\s*|\s+", re.IGNORECASE)
_TIMES: Final = {"": 1, "k": 1000, "m": 1_000_000}
EXAMPLE: Final = "`2 dollars`, `200k tokens`, `50 calls` or `3 agents`, separated by commas"


class InvalidLimits(ValueError):
    """A text is not a list of limits; the message says which part."""


class Limits(NamedTuple):
    """Limits of a conversation with its subagents; None where there is none."""

    nano: int | None = None
    """Nano-dollars."""
    tokens: int | None = None
    """Tokens of prompts and replies together."""
    calls: int | None = None
    """Requests to models."""
    agents: int | None = None
    """Subagents that work at the same time."""

    @classmethod
    def parse(cls, text: str) -> Limits:
        """The limits in a text such as `2 dollars, 50 calls`. Raises `InvalidLimits`."""
        found: dict[str, int] = {}
        at = 0
        while at < len(text):
            item = _ITEM.match(text, at)
            if item is None:
                raise InvalidLimits(f"`{text[at : at + 40]}` is not a limit: write {EXAMPLE}")
            name, value = _read(item)
            if name in found:
                raise InvalidLimits(f"`{text[:80]}` has two limits of the same kind")
            found[name] = value
            at = item.end()
            between = _BETWEEN.match(text, at)
            if at < len(text) and between is None:
                raise InvalidLimits(f"`{text[at : at + 40]}` is not a limit: write {EXAMPLE}")
            at = between.end() if between else at
        if not found:
            raise InvalidLimits(f"no limit is given: write {EXAMPLE}")
        return cls(**found)

    def or_else(self, other: Limits) -> Limits:
        """These limits, and those of `other` where there are none."""
        return Limits(*(b if a is None else a for a, b in zip(self, other, strict=True)))

    def within(self, *others: Limits) -> Limits:
        """The strictest of each kind."""
        return Limits(*(_least(values) for values in zip(self, *others, strict=True)))

    @property
    def listed(self) -> str:
        """The limits for people; empty if there are none."""
        parts = [
            "" if self.nano is None else dollars(self.nano),
            "" if self.tokens is None else f"{self.tokens:,} tokens",
            "" if self.calls is None else f"{self.calls:,} calls",
            "" if self.agents is None else f"{self.agents:,} agents at once",
        ]
        return ", ".join(part for part in parts if part)


def _read(item: re.Match[str]) -> tuple[str, int]:
    unit = (item["unit"] or "").casefold()
    if not unit and not item["sign"]:
        raise InvalidLimits(f"`{item[0].strip()}` has no unit: write {EXAMPLE}")
    if item["sign"] and unit not in ("", "dollar", "dollars", "usd"):
        raise InvalidLimits(f"`{item[0].strip()}` has two units: write {EXAMPLE}")
    number = Decimal(item["number"].replace(",", "")) * _TIMES[(item["times"] or "").casefold()]
    if unit in ("", "dollar", "dollars", "usd"):
        if number > 1_000_000:
            raise InvalidLimits("at most 1,000,000 dollars can be a limit")
        return "nano", nano_dollars(number)
    if number % 1:
        raise InvalidLimits(f"`{item[0].strip()}` is not a whole number")
    name = {"t": "tokens", "c": "calls", "r": "calls"}.get(unit[0], "agents")
    return name, int(number)


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
