"""The goals of the gateway, and the verdict on the figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Figures: TypeAlias = Mapping[str, float]
Results: TypeAlias = Mapping[str, Figures]
"""The figures of every target, by target name."""
Measure: TypeAlias = Callable[[Results], float]


@dataclass(frozen=True)
class Goal:
    """One goal: what is measured, its unit, and the bound."""

    name: str
    unit: str
    measure: Measure
    at_least: float | None = None
    at_most: float | None = None
    needs: tuple[str, ...] = ("nginx",)

    @property
    def text(self) -> str:
        """The bound as text."""
        if self.at_least is not None:
            return f">= {self.at_least:g} {self.unit}"
        return f"<= {self.at_most:g} {self.unit}"

    def met(self, value: float) -> bool:
        """Whether a value is within the bound."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most


def _ratio(key: str, other: str) -> Measure:
    return lambda found: found["gateway"][key] / found[other][key]


def _to_nginx(key: str) -> Measure:
    return _ratio(key, "nginx")


def _added(key: str) -> Measure:
    return lambda found: found["gateway"][key] - found["direct"][key]


def _own(key: str) -> Measure:
    return lambda found: found["gateway"][key]


_OWN: tuple[str, ...] = ()
_DIRECT = ("direct",)

_OTHERS: Mapping[str, tuple[tuple[str, str, float], ...]] = {
    "litellm": (
        ("small requests/s, 1 at a time", "small_1_rps", 20),
        ("small requests/s, 16 at once", "small_16_rps", 40),
        ("big requests/s, 1 at a time", "big_1_rps", 15),
        ("big requests/s, 16 at once", "big_16_rps", 30),
    ),
    "ccr": (
        ("small requests/s, 1 at a time", "small_1_rps", 3.5),
        ("small requests/s, 16 at once", "small_16_rps", 5),
        ("big requests/s, 1 at a time", "big_1_rps", 20),
        ("big requests/s, 16 at once", "big_16_rps", 20),
    ),
}


def _to_other(other: str, name: str, key: str, times: float) -> Goal:
    return Goal(name, f"x {other}", _ratio(key, other), at_least=times, needs=(other,))


def _added_to(key: str, other: str) -> Measure:
    return lambda found: _added(key)(found) / (found[other][key] - found["direct"][key])


_FIRST_BYTE: tuple[Goal, ...] = (
    Goal(
        "added to first byte, small, p50", "ms", _added("small_first_byte_p50_ms"),
        at_most=0.5, needs=_DIRECT,
    ),
    Goal(
        "added to first byte, small, p99", "ms", _added("small_first_byte_p99_ms"),
        at_most=1.5, needs=_DIRECT,
    ),
    Goal(
        "added to first byte, big, p50", "ms", _added("big_first_byte_p50_ms"),
        at_most=0.8, needs=_DIRECT,
    ),
    Goal(
        "added to first byte, big, p99", "ms", _added("big_first_byte_p99_ms"),
        at_most=1.5, needs=_DIRECT,
    ),
)  # fmt: skip
_LEAVES: tuple[Goal, ...] = tuple(
    goal
    for phase in ("before", "after")
    for goal in (
        Goal(
            f"client leaves {phase} the first byte: noticed", "of all",
            _own(f"abort_{phase}_first_byte_noticed"), at_least=1, needs=_OWN,
        ),
        Goal(
            f"client leaves {phase} the first byte: p50", "ms",
            _own(f"abort_{phase}_first_byte_p50_ms"), at_most=1, needs=_OWN,
        ),
        Goal(
            f"client leaves {phase} the first byte: p99", "ms",
            _own(f"abort_{phase}_first_byte_p99_ms"), at_most=10, needs=_OWN,
        ),
    )
)  # fmt: skip
_LOST = Goal("paced events lost", "events", _own("paced_events_lost"), at_most=0, needs=_OWN)

GOALS: tuple[Goal, ...] = (
    Goal("small requests/s, 1 at a time", "x nginx", _to_nginx("small_1_rps"), at_least=0.35),
    Goal("big requests/s, 1 at a time", "x nginx", _to_nginx("big_1_rps"), at_least=0.4),
    Goal("big requests/s, 16 at once", "x nginx", _to_nginx("big_16_rps"), at_least=0.5),
    *_FIRST_BYTE,
    Goal("streams/s, 16 at once", "x nginx", _to_nginx("streams_16_per_s"), at_least=0.5),
    Goal("CPU per relayed event, paced", "x nginx", _to_nginx("paced_cpu_us_per_event"), at_most=3),
    _LOST,
    Goal(
        "one stream flat out", "events/s", _own("flat_events_per_s"), at_least=150_000, needs=_OWN
    ),
    Goal("start to first 200", "s", _own("start_s"), at_most=0.8, needs=_OWN),
    Goal("idle memory", "MB", _own("rss_idle_mb"), at_most=60, needs=_OWN),
    *_LEAVES,
    *(_to_other(other, *row) for other, rows in _OTHERS.items() for row in rows),
)  # fmt: skip

CHAT_GOALS: tuple[Goal, ...] = (
    *_FIRST_BYTE,
    Goal(
        "CPU per translated event, paced", "us", _own("paced_cpu_us_per_event"),
        at_most=60, needs=_OWN,
    ),
    _LOST,
    *_LEAVES,
    *(_to_other("litellm", *row) for row in _OTHERS["litellm"]),
    _to_other("litellm", "events/s of one stream", "dense_events_per_s", 20),
    *(_to_other("ccr", *row) for row in _OTHERS["ccr"]),
    *(
        Goal(
            f"added to first byte, {size}, p50", "x litellm",
            _added_to(f"{size}_first_byte_p50_ms", "litellm"),
            at_most=0.1, needs=("litellm", "direct"),
        )
        for size in ("small", "big")
    ),
)  # fmt: skip
"""Goals for translated requests and streams."""


SHIPPED_GOALS: tuple[Goal, ...] = (
    Goal("small requests/s, 1 at a time", "x nginx", _to_nginx("small_1_rps"), at_least=0.42),
    Goal("big requests/s, 1 at a time", "x nginx", _to_nginx("big_1_rps"), at_least=0.4),
    Goal("big requests/s, 16 at once", "x nginx", _to_nginx("big_16_rps"), at_least=0.35),
    Goal("CPU of a small request", "us", _own("small_16_cpu_us"), at_most=180, needs=_OWN),
    Goal("CPU of a big request", "us", _own("big_16_cpu_us"), at_most=280, needs=_OWN),
    Goal(
        "added to first byte, small, p50", "ms", _added("small_first_byte_p50_ms"),
        at_most=0.35, needs=_DIRECT,
    ),
    Goal(
        "added to first byte, big, p50", "ms", _added("big_first_byte_p50_ms"),
        at_most=0.45, needs=_DIRECT,
    ),
    Goal("streams/s, 16 at once", "x nginx", _to_nginx("streams_16_per_s"), at_least=0.6),
    Goal(
        "CPU per relayed event, paced", "x nginx", _to_nginx("paced_cpu_us_per_event"),
        at_most=2.5,
    ),
    _LOST,
    Goal("idle memory", "MB", _own("rss_idle_mb"), at_most=64, needs=_OWN),
    *_LEAVES,
)  # fmt: skip
"""Goals for the plugins of `config.example.yaml`, whichever the backend; `gateway` in a measure is
then that stack."""


def judge(results: Results, api: str = "messages") -> list[tuple[str, str, str, str]]:
    """Rows of goal, bound, measured value and verdict; says if a figure is missing."""
    goals = CHAT_GOALS if api == "chat" else GOALS
    rows = _judged(goals, results) if "gateway" in results else []
    for target in (name for name in results if name.startswith("shipped")):
        found = _judged(SHIPPED_GOALS, {**results, "gateway": results[target]})
        rows += [(f"{target}: {name}", *rest) for name, *rest in found]
    return rows


def _judged(goals: Iterable[Goal], results: Results) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    for goal in goals:
        missing = [name for name in goal.needs if name not in results]
        if missing and goal.needs[:1] in {("litellm",), ("ccr",)}:
            continue  # measured only if it is installed
        try:
            if missing:
                raise KeyError(missing[0])
            value = goal.measure(results)
        except KeyError as problem:
            rows.append((goal.name, goal.text, "-", f"no figure: {problem.args[0]}"))
        else:
            verdict = "ok" if goal.met(value) else "miss"
            rows.append(
                (goal.name, goal.text, f"{value:,.3g}" if value < 1e4 else f"{value:,.0f}", verdict)
            )
    return rows
