"""Keeps the metrics of this process in bounded memory. It knows no exchange and no format.

Values are recorded in the event loop; other threads only read copies.
"""

from __future__ import annotations

import time
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from plugway_log import redact
from plugway_telemetry import _names as names
from plugway_telemetry._names import Metric

MAX_SERIES: Final = 1000
"""Most combinations of attributes of a metric; further ones are recorded as `OTHER`."""
OTHER: Final = "other"
MAX_NAME: Final = 128
"""Longest name of a model in metrics."""

Labels = tuple[str, ...]
"""Values of a metric's attributes, in their order."""


class Distribution(NamedTuple):
    """A copy of one histogram: numbers by bucket, with one more than bounds, and the sum."""

    counts: tuple[int, ...]
    total: float


class Number:
    """One series of a counter or gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        """Add to it."""
        self.value += amount


class Histogram:
    """One series of a histogram."""

    __slots__ = ("_buckets", "counts", "total")

    def __init__(self, buckets: Sequence[float]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def record(self, value: float) -> None:
        """Add a value."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.total += value


class Store:
    """The metrics, which outlive a reload of the configuration."""

    def __init__(self) -> None:
        self.began = time.time_ns()
        """Start of all sums, in nanoseconds since 1970."""
        self.instance = str(uuid.uuid4())
        """`service.instance.id`."""
        self.owners: list[object] = []
        """The instances of the plugin that run, the newest last: only that one exports metrics and
        measures the loop, while another still serves its last exchanges after a reload."""
        self._numbers: dict[str, dict[Labels, Number]] = {
            metric.name: {} for metric in names.METRICS if metric.kind != "histogram"
        }
        self._histograms: dict[str, dict[Labels, Histogram]] = {
            metric.name: {} for metric in names.METRICS if metric.kind == "histogram"
        }
        self.in_flight = self.number(names.IN_FLIGHT)
        """Requests being served."""

    def number(self, metric: Metric, *labels: str) -> Number:
        """The series of a counter or gauge with these values of its attributes."""
        series = self._numbers[metric.name]
        found = series.get(labels)
        return found or series.setdefault(_admitted(series, labels), Number())

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The series of a histogram with these values of its attributes."""
        series = self._histograms[metric.name]
        found = series.get(labels)
        return found or series.setdefault(_admitted(series, labels), Histogram(metric.buckets))

    def numbers(self, metric: Metric) -> list[tuple[Labels, int]]:
        """A copy of a counter or gauge."""
        return [(labels, one.value) for labels, one in list(self._numbers[metric.name].items())]

    def distributions(self, metric: Metric) -> list[tuple[Labels, Distribution]]:
        """A copy of a histogram's series."""
        return [
            (labels, Distribution(tuple(one.counts), one.total))
            for labels, one in list(self._histograms[metric.name].items())
        ]


def _admitted(series: Mapping[Labels, object], labels: Labels) -> Labels:
    return labels if len(series) < MAX_SERIES else (OTHER,) * len(labels)


class ModelNames:
    """Which models are named in metrics; all others are `OTHER`.

    A client can send any name, and some backends answer any. So a name is admitted when it has
    answered, up to a limit; names that clients wrote do not use up the places of names that only
    the configuration contains.
    """

    def __init__(self, listed: Iterable[str], most: int) -> None:
        """`listed` are always named; `most` limits each of the two kinds of other names."""
        self._known = set(listed)
        self._places = {True: most, False: most}

    def admit(self, model: str, *, by_client: bool) -> None:
        """Name `model` from now on, if there is a place left."""
        if model in self._known or self._places[by_client] < 1:
            return
        if len(model) <= MAX_NAME and model.isprintable() and redact(model) == model:
            self._places[by_client] -= 1
            self._known.add(model)

    def label(self, model: str) -> str:
        """`model`, or `OTHER`."""
        return model if model in self._known else OTHER
