"""The result as Markdown, and the sentence that says which endpoint to use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from plugway_bench._bodies import FIGURES, TITLES, WORKLOADS, Workload
from plugway_bench._result import LABELS, UNITS, EndpointResult, Figure, FigureName, Result

MAIN: Final[dict[Workload, FigureName]] = {
    "turn": "first_cold",
    "turns": "turns_rate",
    "tools": "tools_first",
}
_MORE: Final[tuple[FigureName, ...]] = (
    "first_warm",
    "turns_first",
    "prefix_reuse",
    "cancel",
    "turn_share",
    "tools_share",
)
_REPLY_TOKENS: Final = 300


def markdown(result: Result) -> str:
    """The whole report."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield f"# plugway bench, {result.started}"
    yield ""
    if not result.complete:
        yield "**Interrupted**: the figures are those up to then."
        yield ""
    yield verdict(result)
    yield ""
    yield from _table(
        ["endpoint", *(f"{TITLES[name]}: {FIGURES[name]}" for name in WORKLOADS), "cost"],
        [[_name(row), *_main(row), _cost(row)] for row in result.endpoints],
    )
    yield ""
    yield from _table(
        ["endpoint", *(LABELS[name] for name in _MORE), "valid calls"],
        [
            [_name(row), *(_cell(row, name) for name in _MORE), _calls(row)]
            for row in result.endpoints
        ],
    )
    yield ""
    yield from _share(result.endpoints)
    for row in result.endpoints:
        yield from (f"- {_name(row)}: {_escaped(note)}" for note in row.notes)
    machine = result.machine
    load = "" if machine.load is None else f", load {machine.load:g} at the beginning"
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    yield ""
    yield f"Machine: {_escaped(machine.text)}; {machine.system}{load}. Python {machine.python}."
    yield f"Versions: {versions}. Seed {result.seed}, {result.rounds} rounds, {result.seconds:g} s."
    yield "Ranges in brackets are the smallest and the largest measurement."


def verdict(result: Result) -> str:
    """One sentence that says which endpoint to use for the work of an agent."""
    fit = [row for row in result.endpoints if _turn_seconds(row) is not None]
    if not fit:
        return "No endpoint completed the turns of 20K, so none can be recommended for an agent."
    most = max(_outcomes(row) for row in fit)
    able = [row for row in fit if _outcomes(row) == most]
    best_rate = max(row.valid_rate or 0.0 for row in able)
    if best_rate == 0.0 and any(row.calls_asked for row in able):
        return "No endpoint made a valid tool call, so none can be recommended for an agent."
    reliable = [row for row in able if (row.valid_rate or 0.0) >= 0.9 * best_rate]
    best = min(reliable, key=lambda row: _turn_seconds(row) or 0.0)
    said = [f"it completed {most} of {len(WORKLOADS)} workloads"]
    if best.valid_rate is not None:
        said.append(f"{best.valid_rate:.0%} of the tool calls that were asked for are valid")
    said.append(
        f"a turn of {_REPLY_TOKENS} tokens in a conversation of 20K takes about "
        f"{_turn_seconds(best) or 0:.2g} s"
    )
    said.append(f"this run {_paid(best)}")
    return f"Use {_name(best)}: {', '.join(said)}."


def _turn_seconds(row: EndpointResult) -> float | None:
    first, rate = row.figures.get("turns_first"), row.figures.get("turns_rate")
    found = row.workloads.get("turns")
    if found is None or found.outcome != "measured":
        return None
    if first is None or rate is None or not rate.value:
        return None
    return first.value / 1000 + _REPLY_TOKENS / rate.value


def _outcomes(row: EndpointResult) -> int:
    return sum(found.outcome == "measured" for found in row.workloads.values())


def _main(row: EndpointResult) -> Iterator[str]:
    for name in WORKLOADS:
        found = row.workloads.get(name)
        figure = row.figures.get(MAIN[name])
        if found is not None and found.outcome == "context_overflow":
            yield f"`context_overflow`: {found.reason}"
        elif figure is not None:
            tokens = f", {found.prompt_tokens:,} tokens" if found and found.prompt_tokens else ""
            yield f"{figure_text(MAIN[name], figure)}{tokens}"
        elif found is not None and found.outcome == "failed":
            yield f"failed: {_escaped(found.reason)}"
        else:
            yield "not measured"


def figure_text(name: FigureName, figure: Figure) -> str:
    """A figure with its unit and its range."""
    unit = UNITS[name]
    return f"{number(figure.value)} {unit} [{number(figure.low)} to {number(figure.high)}]"


def number(value: float) -> str:
    """Three significant digits, without exponents."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(row: EndpointResult, name: FigureName) -> str:
    figure = row.figures.get(name)
    return "not measured" if figure is None else figure_text(name, figure)


def _share(rows: Sequence[EndpointResult]) -> Iterator[str]:
    for row in rows:
        share, first = row.figures.get("turn_share"), row.figures.get("first_cold")
        if not row.figures:
            continue
        if share is None:
            yield (
                f"- {_name(row)}: the gateway's share is not known. List `- use: bench` as the "
                "last plugin, or stop the gateway, so that this command starts its own."
            )
        elif first is not None and first.value:
            yield (
                f"- {_name(row)}: {number(share.value)} ms of the {number(first.value)} ms to the "
                f"first token of 2K ({share.value / first.value:.1%}) passed outside its backend, "
                "in the gateway and in this client."
            )


def _calls(row: EndpointResult) -> str:
    if row.valid_rate is None:
        return "not measured"
    return f"{row.valid_rate:.0%} ({row.calls_valid} of {row.calls_asked}; {row.calls_made} called)"


def _cost(row: EndpointResult) -> str:
    if not row.dollars:
        return "unknown" if row.dollars is None else "nothing"
    return f"${row.dollars:,.4f}" if row.dollars >= 0.0001 else "less than $0.0001"


def _paid(row: EndpointResult) -> str:
    if row.dollars is None:
        return "has an unknown cost"
    return f"cost {_cost(row)}"


def _name(row: EndpointResult) -> str:
    return f"`{_escaped(row.endpoint)}`"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _escaped(text: str) -> str:
    """Text of a server, as one harmless line of Markdown."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
