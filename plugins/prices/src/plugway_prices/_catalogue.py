"""Finds the price of a model on a day: in the user's prices, then in those of the vendors.

The vendors' prices are data, `prices.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Final, Protocol, TypeVar

import yaml
from pydantic import Field, TypeAdapter

from plugway import Options
from plugway_prices._options import PriceOptions, TierOptions
from plugway_prices._price import FREE, LONG, Price, Rates

_SNAPSHOT: Final = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")
"""The date at the end of ids such as `claude-opus-4-5-20251101`."""


class Peak(Options):
    """Hours in which everything costs more."""

    hours: tuple[tuple[time, time], ...]
    """Beginning and end in UTC."""
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    """0 is Monday."""
    times: Decimal

    def covers(self, at: datetime) -> bool:
        """Whether it is one of these hours."""
        return at.weekday() in self.weekdays and any(b <= at.time() < e for b, e in self.hours)


class VendorPrice(PriceOptions):
    """Prices of one or several models."""

    model: str | tuple[str, ...]
    """Ids; a date at the end of a requested id is ignored if the id itself is not listed."""
    choices: dict[str, Decimal] = Field(default={})
    """What requests choose -> what that multiplies the price by. A choice that is not listed has
    no price."""
    peak: Peak | None = None


class Vendor(Options):
    """The price list of one vendor."""

    vendor: str
    zones: tuple[str, ...]
    """Zones of backends that this vendor serves and bills."""
    source: str
    known: date
    """The day on which the list was read."""
    models: tuple[VendorPrice, ...]


class Instance(Protocol):
    """A backend, as far as prices depend on it."""

    @property
    def name(self) -> str:
        """The instance's name."""
        ...

    @property
    def zone(self) -> str:
        """Where its requests go."""
        ...


class Catalogue:
    """The prices of vendors, and the user's own, which come first."""

    def __init__(
        self, own: Mapping[str, PriceOptions | tuple[PriceOptions, ...]] | None = None
    ) -> None:
        listed = (own or {}).items()
        self._own = [(p, v if isinstance(v, tuple) else (v,)) for p, v in listed]
        self._prices: dict[tuple[int, Fraction], Price] = {}

    def price_of(
        self, backend: Instance, model: str, at: datetime, choices: frozenset[str] = frozenset()
    ) -> Price | None:
        """The price of `model`, the backend's own id, for a request at that time; None if it is not
        known. `choices` are those of the request (`choices_of`)."""
        at = at.astimezone(UTC)
        target = f"{backend.name}/{model}"
        for pattern, rows in self._own:
            if fnmatchcase(target, pattern):
                found = _on(rows, at.date())
                return found and self._price(found, Fraction(1), f"`models: {pattern}`")
        if backend.zone == "local":
            return FREE
        source, models = _by_zone().get(backend.zone, ("", {}))
        row = _on(models.get(model) or models.get(_SNAPSHOT.sub("", model), ()), at.date())
        times = row and _times(row, at, choices)
        return self._price(row, times, source) if row and times is not None else None

    def _price(self, row: PriceOptions, times: Fraction, source: str) -> Price:
        """Computed once: rows live as long as this object, or longer."""
        key = (id(row), times)
        found = self._prices.get(key)
        if found is None:
            tiers = sorted(row.tiers, key=lambda tier: tier.above)
            long = tuple((tier.above, _rates(tier, times)) for tier in tiers)
            found = self._prices[key] = Price(_rates(row, times), long, source)
        return found


def _times(row: VendorPrice, at: datetime, choices: frozenset[str]) -> Fraction | None:
    """What the hour and the choices multiply the price by; None if that is unknown."""
    times = Fraction(1)
    for choice in choices - {LONG}:
        if choice not in row.choices:
            return None
        times *= Fraction(row.choices[choice])
    if LONG in choices and row.cache_write is not None and row.cache_write_1h is None:
        return None
    peak = row.peak
    if peak is not None:
        times *= Fraction(peak.times) if peak.covers(at) else 1
    return times


def _rates(row: PriceOptions | TierOptions, times: Fraction) -> Rates:
    return Rates.per_million(
        row.input, row.output, row.cache_read, row.cache_write, row.cache_write_1h, times=times
    )


_Row = TypeVar("_Row", bound=PriceOptions)


def _on(rows: Sequence[_Row], day: date) -> _Row | None:
    """The row of that day with the latest beginning."""
    valid = [row for row in rows if row.since <= day <= row.until]
    return max(valid, key=lambda row: row.since, default=None)


@cache
def vendors() -> tuple[Vendor, ...]:
    """The vendors' price lists; read once and validated."""
    text = files("plugway_prices").joinpath("prices.yaml").read_text("utf-8")
    return TypeAdapter(tuple[Vendor, ...]).validate_python(yaml.safe_load(text))


@cache
def _by_zone() -> Mapping[str, tuple[str, Mapping[str, Sequence[VendorPrice]]]]:
    found: dict[str, tuple[str, dict[str, list[VendorPrice]]]] = {}
    for vendor in vendors():
        models: dict[str, list[VendorPrice]] = {}
        for row in vendor.models:
            for model in (row.model,) if isinstance(row.model, str) else row.model:
                models.setdefault(model, []).append(row)
        for zone in vendor.zones:
            found[zone] = (vendor.source, models)
    return found
