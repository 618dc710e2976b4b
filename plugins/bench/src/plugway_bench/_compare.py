"""What changed between two runs beyond what was measured within each of them."""

from __future__ import annotations

from collections.abc import Iterator

from plugway_bench._result import (
    HIGHER_IS_BETTER,
    LABELS,
    UNITS,
    EndpointResult,
    Figure,
    FigureName,
    Result,
)


def changes(old: Result, new: Result) -> Iterator[str]:
    """The differences as lines of Markdown."""
    before = {row.endpoint: row for row in old.endpoints}
    yield from _circumstances(old, new)
    for row in new.endpoints:
        if row.endpoint not in before:
            yield f"- `{row.endpoint}` is new."
            continue
        yield from _of_endpoint(before.pop(row.endpoint), row)
    for name in before:
        yield f"- `{name}` was not measured again."


def _circumstances(old: Result, new: Result) -> Iterator[str]:
    if old.rounds != new.rounds:
        yield f"- Rounds: {old.rounds}, now {new.rounds}."
    if old.versions != new.versions:
        yield f"- Versions: {_versions(old)}; now {_versions(new)}."
    if (old.machine.cores, old.machine.memory_bytes) != (
        new.machine.cores,
        new.machine.memory_bytes,
    ):
        yield "- The machines differ: times cannot be compared."


def _versions(result: Result) -> str:
    return ", ".join(f"{name} {version}" for name, version in result.versions.items())


def _of_endpoint(old: EndpointResult, new: EndpointResult) -> Iterator[str]:
    for name, now in new.workloads.items():
        was = old.workloads.get(name)
        if was is not None and was.outcome != now.outcome:
            yield f"- `{new.endpoint}`, {name}: `{was.outcome}`, now `{now.outcome}`."
    lines = list(_figures(old, new))
    yield from lines
    shared = len(old.figures.keys() & new.figures.keys())
    if not lines and shared:
        yield f"- `{new.endpoint}`: no figure changed beyond the spread."


def _figures(old: EndpointResult, new: EndpointResult) -> Iterator[str]:
    for name, now in new.figures.items():
        was = old.figures.get(name)
        if was is not None and changed(was, now):
            yield f"- `{new.endpoint}`, {LABELS[name]}: {_change(name, was, now)}."


def changed(old: Figure, new: Figure) -> bool:
    """Whether each value is outside the range of the other run."""
    return not old.low <= new.value <= old.high and not new.low <= old.value <= new.high


def _change(name: FigureName, old: Figure, new: Figure) -> str:
    better = (new.value > old.value) == (name in HIGHER_IS_BETTER)
    share = f" ({new.value / old.value - 1:+.0%})" if old.value else ""
    word = "better" if better else "worse"
    return f"{old.value:,.3g} {UNITS[name]}, now {new.value:,.3g}{share}, {word}"
