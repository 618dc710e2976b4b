"""What a replay would send and cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from plugway import Backend, MessagesRequest, ModelInfo, Usage, as_object
from plugway_endpoints import needs_of
from plugway_prices import LONG, Price, TellsPrices, choices_of, missing_price
from plugway_recorder._turn import Shape, shape_of


class Facts(NamedTuple):
    """What a plan needs of a turn; much less than the turn."""

    number: int
    shape: Shape
    zone: str
    prompt: int
    output: int
    longest: int
    """Most tokens that the reply may have."""
    choices: frozenset[str]
    """What the request chooses that changes its price."""

    @property
    def long(self) -> bool:
        """Whether what it writes to a cache should live for an hour."""
        return LONG in self.choices


def facts_of(number: int, turn: Mapping[str, Any]) -> Facts:
    """The facts of a recorded turn."""
    usage, request = usage_of(as_object(turn.get("usage"))), request_of(turn)
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
    return Facts(
        number,
        shape_of(turn),
        str(turn.get("zone") or ""),
        prompt or needs_of(request).tokens,
        usage.output_tokens,
        _number(request.get("max_tokens")),
        choices_of(request),
    )


@dataclass(frozen=True, slots=True)
class Pricing:
    """How requests to one model are priced."""

    prices: TellsPrices
    backend: Backend
    model: str

    def costs(self, turns: Iterable[Facts], usages: Mapping[str, Any]) -> Mapping[str, int | None]:
        """What turns have cost in nano-dollars, by number; None where no price is known."""
        found: dict[str, int | None] = {}
        for turn in turns:
            usage, price = as_object(usages.get(str(turn.number))), self._of(turn)
            found[str(turn.number)] = price and price.cost(usage_of(usage), long=turn.long)
        return found

    def planned(self, turns: Sequence[Facts], info: ModelInfo | None) -> dict[str, Any]:
        """Tokens and cost of a replay of these turns, by the counts of the recording."""
        window = info.context_tokens if info else 0
        too_long = (turn.number for turn in turns if window and turn.prompt > window)
        priced = [(turn, price) for turn in turns if (price := self._of(turn)) is not None]
        known = len(priced) == len(turns)
        dollars = sum(price.cost(Usage(turn.prompt, turn.output)) for turn, price in priced)
        most = sum(
            price.worst_case(turn.prompt, turn.longest, long=turn.long) for turn, price in priced
        )
        return {
            "prompt_tokens": sum(turn.prompt for turn in turns),
            "output_tokens": sum(turn.output for turn in turns),
            "dollars": dollars if known else None,
            "most_dollars": most if known else None,
            "missing_price": "" if known else missing_price(self.backend, self.model),
            "window": window,
            "first_too_long": next(too_long, None),
        }

    def _of(self, turn: Facts) -> Price | None:
        now = datetime.now(UTC)
        return self.prices.price_of(self.backend, self.model, now, turn.choices)


def request_of(turn: Mapping[str, Any]) -> MessagesRequest:
    """The recorded request."""
    return MessagesRequest(orjson.dumps(turn.get("body") or {}))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Counts as they are recorded."""
    return Usage(*(_number(usage.get(name)) for name in Usage._fields))


def _number(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
