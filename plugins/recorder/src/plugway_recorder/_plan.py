"""What a replay would send and cost, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from plugway import Backend, MessagesRequest, ModelInfo, Usage, as_object
from plugway_endpoints import needs_of
from plugway_prices import Price, TellsPrices, choices_of, missing_price

Turn = tuple[int, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Pricing:
    """How requests to one model are priced."""

    prices: TellsPrices
    backend: Backend
    model: str

    def of(self, turn: Mapping[str, Any]) -> Price | None:
        """The price for a turn, which may choose a speed or a tier."""
        choices = choices_of(request_of(turn))
        return self.prices.price_of(self.backend, self.model, datetime.now(UTC), choices)

    def costs(self, turns: Iterable[Turn], usages: Mapping[str, Any]) -> Mapping[str, int | None]:
        """What turns have cost in nano-dollars, by number; None where no price is known."""
        found: dict[str, int | None] = {}
        for number, turn in turns:
            usage, price = as_object(usages.get(str(number))), self.of(turn)
            found[str(number)] = price and price.cost(usage_of(usage))
        return found

    def planned(self, turns: Sequence[Turn], info: ModelInfo | None) -> dict[str, Any]:
        """Tokens and cost of a replay of these turns, by the counts of the recording."""
        prompt, output, dollars, most, unpriced = 0, 0, 0, 0, 0
        window, first_too_long = info.context_tokens if info else 0, None
        for number, turn in turns:
            usage, request = usage_of(as_object(turn.get("usage"))), request_of(turn)
            size = prompt_tokens(usage) or needs_of(request).tokens
            prompt, output = prompt + size, output + usage.output_tokens
            if window and size > window and first_too_long is None:
                first_too_long = number
            price = self.of(turn)
            if price is None:
                unpriced += 1
                continue
            longest = _number(request.get("max_tokens"))
            dollars += price.cost(Usage(size, usage.output_tokens))
            most += price.worst_case(size, longest)
        missing = missing_price(self.backend, self.model) if unpriced else ""
        return {
            "prompt_tokens": prompt,
            "output_tokens": output,
            "dollars": None if unpriced else dollars,
            "most_dollars": None if unpriced else most,
            "missing_price": missing,
            "window": window,
            "first_too_long": first_too_long,
        }


def request_of(turn: Mapping[str, Any]) -> MessagesRequest:
    """The recorded request."""
    return MessagesRequest(orjson.dumps(turn.get("body") or {}))


def usage_of(usage: Mapping[str, Any]) -> Usage:
    """Counts as they are recorded."""
    return Usage(*(_number(usage.get(name)) for name in Usage._fields))


def prompt_tokens(usage: Usage) -> int:
    """Tokens of the prompt."""
    return usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens


def _number(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0
