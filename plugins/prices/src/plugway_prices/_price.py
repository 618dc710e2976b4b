"""A price, and what requests cost at it. All arithmetic is in integers.

`_catalogue` finds the price of a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from plugway import MessagesRequest, Usage
from plugway_wire.pieces import Mark

PICO: Final = 10**6
"""Pico-dollars per token for one dollar per million tokens."""
_PICO_IN_NANO: Final = 1000
_CHOICES: Final = ("speed", "service_tier", "inference_geo")
_USUAL: Final[Mapping[str, tuple[Any, ...]]] = {
    "speed": (None, "standard"),
    "service_tier": (None, "auto", "default", "standard", "standard_only"),
    "inference_geo": (None, "global"),
}
LONG: Final = "cache: long"
"""The choice of a request whose cache entries should live for an hour or longer."""
_LONG: Final = Mark(b'"1h"', b"\\u0031", b"\\u0068")  # a client may write it with escapes
_LONG_OF_OTHERS: Final = (b'"1h"', b"prompt_cache_retention", b"prompt_cache_options")
"""The same in requests of other APIs. Each search reads the whole body: 0.1 ms in 100 KB."""
_MARKED: Final = ("tools", "system", "messages", "cache_control")
"""Fields with `cache_control` in them."""


class Rates(NamedTuple):
    """Pico-dollars (10⁻¹² dollars) per token."""

    input: int
    output: int
    cache_read: int
    cache_write: int
    """Entries that live for about five minutes."""
    cache_write_1h: int
    """Entries that live for an hour or longer."""

    @classmethod
    def per_million(
        cls,
        input: Decimal,
        output: Decimal,
        cache_read: Decimal | None = None,
        cache_write: Decimal | None = None,
        cache_write_1h: Decimal | None = None,
        *,
        times: Fraction = Fraction(1),
    ) -> Rates:
        """Rates from dollars per million tokens. What is not given costs as much as `input`;
        `cache_write_1h`, as much as `cache_write`. `times` multiplies all."""
        read = input if cache_read is None else cache_read
        write = input if cache_write is None else cache_write
        long = write if cache_write_1h is None else cache_write_1h
        return cls(
            *[_rounded_up(Fraction(n) * PICO * times) for n in (input, output, read, write, long)]
        )


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs. A prompt of more than `above` tokens costs other rates, as a whole."""

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    """(`above`, rates) by ascending size."""
    source: str = ""
    """Where the price is from: a page, or the configuration."""

    @property
    def free(self) -> bool:
        """Whether nothing costs anything."""
        return not any(self.rates) and not self.tiers

    def rates_for(self, prompt_tokens: int) -> Rates:
        """The rates of a request with that prompt, cached tokens included."""
        found = self.rates
        for above, rates in self.tiers:
            if prompt_tokens > above:
                found = rates
        return found

    def cost(self, usage: Usage, *, written_1h: int | None = None, long: bool = False) -> int:
        """Cost of an exchange in nano-dollars, rounded up.

        `written_1h` says how many of the tokens written to the cache live for an hour or longer;
        if it is unknown, `long` says whether the request asked for that: then all count as such.
        """
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
        rates = self.rates_for(prompt)
        hour = written_1h if written_1h is not None else usage.cache_creation_tokens * long
        hour = min(hour, usage.cache_creation_tokens)
        return _nano(
            usage.input_tokens * rates.input
            + usage.output_tokens * rates.output
            + usage.cache_read_tokens * rates.cache_read
            + (usage.cache_creation_tokens - hour) * rates.cache_write
            + hour * rates.cache_write_1h
        )

    def worst_case(self, prompt_tokens: int, max_tokens: int, *, long: bool = False) -> int:
        """The most that a request can cost in nano-dollars: nothing is read from the cache, all is
        written to it, and the reply is as long as it may be."""
        rates = self.rates_for(prompt_tokens)
        return _nano(prompt_tokens * _dearest(rates, long) + max_tokens * rates.output)

    def affordable(self, amount: int, prompt_tokens: int, *, long: bool = False) -> int | None:
        """The largest `max_tokens` whose `worst_case` is at most `amount` nano-dollars; negative if
        not even the prompt can be paid, None if replies cost nothing and the prompt can be paid."""
        rates = self.rates_for(prompt_tokens)
        rest = amount * _PICO_IN_NANO - prompt_tokens * _dearest(rates, long)
        if rest < 0:
            return -1
        return rest // rates.output if rates.output else None


FREE: Final = Price(Rates(0, 0, 0, 0, 0), source="this machine")
"""What backends on this machine cost."""


def choices_of(request: MessagesRequest) -> frozenset[str]:
    """What a request chooses that can change its price, such as `speed: fast`."""
    original = request.original
    source = request if original is None else original
    found = {
        f"{name}: {value}" for name in _CHOICES if (value := source.get(name)) not in _USUAL[name]
    }
    if original is None:
        long = _LONG.may_be_in(request, *_MARKED)
    else:
        long = any(mark in original.body for mark in _LONG_OF_OTHERS)
    if long:
        found.add(LONG)
    return frozenset(found)


def _dearest(rates: Rates, long: bool) -> int:
    return max(rates.input, rates.cache_read, rates.cache_write, rates.cache_write_1h * long)


def _nano(pico: int) -> int:
    return -(-pico // _PICO_IN_NANO)


def _rounded_up(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
