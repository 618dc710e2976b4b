"""The plugin: prices for other plugins, which find them by `prices_in`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, runtime_checkable

from plugway import Gateway, Plugin, Usage
from plugway_prices._catalogue import Catalogue, Instance
from plugway_prices._money import DOLLAR
from plugway_prices._options import PricesOptions
from plugway_prices._price import Price


@runtime_checkable
class TellsPrices(Protocol):
    """A plugin that knows what models cost: `Gateway.find(TellsPrices)`."""

    def price_of(
        self, backend: Instance, model: str, at: datetime, choices: frozenset[str] = frozenset()
    ) -> Price | None:
        """The price of `model`, the backend's own id, for a request at that time; None if it is not
        known. `choices` are those of the request (`choices_of`)."""
        ...


class _Place(NamedTuple):
    name: str
    zone: str


class Prices(Plugin[PricesOptions]):
    """Tells other plugins what models cost; it changes no request."""

    def __init__(self, options: PricesOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._catalogue = Catalogue(options.models)
        self._zones: Mapping[str, str] = {}
        self.price_of = self._catalogue.price_of

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report prices of backends that do not exist."""
        self._zones = dict(zones)
        known = tuple(f"{name}/" for name in zones)
        return [
            (
                ("models", pattern),
                "names no configured backend; use `INSTANCE/MODEL`, `INSTANCE/*` or `*`",
            )
            for pattern in self.options.models
            if not set("*?[") & set(pattern.partition("/")[0]) and not pattern.startswith(known)
        ]

    def cost(self, target: str, usage: Usage) -> float | None:
        """Cost of an exchange now, in US dollars; None if the price is not known. Use `price_of`
        where exact amounts matter."""
        name, _, model = target.partition("/")
        place = _Place(name, self._zones.get(name, ""))
        price = self.price_of(place, model, datetime.now(UTC))
        return price and price.cost(usage) / DOLLAR


def prices_in(gateway: Gateway) -> TellsPrices:
    """The configured prices, or those of the vendors if no plugin with prices is listed."""
    return next((found for _, found in gateway.find(TellsPrices)), None) or Catalogue()


def missing_price(backend: Instance, model: str) -> str:
    """The message about a price that is not known, with the fix."""
    target = f"{backend.name}/{model}"
    return (
        f"no price is known for `{target}` (zone `{backend.zone}`). Add it to the options of the "
        f'plugin `prices`: `models: {{"{target}": {{input: 1, output: 5}}}}`, in US dollars per '
        "million tokens, or 0 for what costs nothing"
    )
