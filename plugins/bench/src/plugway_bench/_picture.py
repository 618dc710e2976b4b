"""The result as one SVG: a bar for each endpoint and workload, readable in light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from plugway_bench._bodies import FIGURES, TITLES, WORKLOADS, Workload
from plugway_bench._report import MAIN, number, verdict
from plugway_bench._result import HIGHER_IS_BETTER, UNITS, EndpointResult, Figure, Result

_WIDTH: Final = 760
_LEFT: Final = 250
_BAR: Final = 300
"""Width of the longest bar; its value stands to the right."""
_ROW: Final = 26
_LONGEST_NAME: Final = 28
_STYLE: Final = """
  svg { color-scheme: light dark; background: #ffffff; }
  text { font: 14px system-ui, sans-serif; fill: #1b1f24; }
  .head { font-weight: 600; } .small { font-size: 12px; fill: #57606a; }
  .bar { fill: #3b6ea8; } .range { stroke: #1b1f24; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    svg { background: #14171c; }
    text { fill: #e6e8eb; } .small { fill: #a4adb8; }
    .bar { fill: #5b93d3; } .range { stroke: #e6e8eb; }
  }
"""


def picture(result: Result) -> str:
    """The picture; its description contains all of its values."""
    rows = result.endpoints
    height = 70 + len(WORKLOADS) * (34 + _ROW * len(rows)) + 28
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title desc">',
            f'<title id="title">plugway bench, {_text(result.started)}</title>',
            f'<desc id="desc">{_text(_described(result))}</desc>',
            f"<style>{_STYLE}</style>",
            *_drawn(result, height),
            "</svg>\n",
        ]
    )


def _drawn(result: Result, height: int) -> Iterator[str]:
    yield _line(16, 28, "head", f"plugway bench, {result.started[:16].replace('T', ' ')} UTC")
    unfinished = "" if result.complete else "; interrupted"
    machine = result.machine.text.partition(",")[0]
    yield _line(16, 48, "small", f"{machine}; {result.rounds} rounds{unfinished}")
    top = 70
    for workload in WORKLOADS:
        yield _line(16, top + 14, "head", _heading(workload))
        longest = _longest(result.endpoints, workload)
        for number_of, row in enumerate(result.endpoints):
            yield from _bar(row, workload, longest, top + 26 + number_of * _ROW)
        top += 34 + _ROW * len(result.endpoints)
    yield _line(16, height - 12, "small", "Lines: smallest and largest measurement.")


def _bar(row: EndpointResult, workload: Workload, longest: float, top: int) -> Iterator[str]:
    name = row.endpoint
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2 - 1
        name = f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
    yield _line(16, top + 14, "", name)
    figure = _figure(row, workload)
    if figure is None or not longest:
        yield _line(_LEFT, top + 14, "small", _value(row, workload))
        return
    low, width, high = (_BAR * value / longest for value in (figure.low, figure.value, figure.high))
    yield f'<rect class="bar" x="{_LEFT}" y="{top + 2}" width="{width:.1f}" height="15" rx="2"/>'
    middle = top + 9.5
    yield (
        f'<line class="range" x1="{_LEFT + low:.1f}" y1="{middle}" x2="{_LEFT + high:.1f}" '
        f'y2="{middle}"/>'
    )
    yield _line(_LEFT + round(max(width, high)) + 8, top + 14, "", _value(row, workload))


def _longest(rows: Sequence[EndpointResult], workload: Workload) -> float:
    figures = (_figure(row, workload) for row in rows)
    return max((figure.high for figure in figures if figure), default=0.0)


def _figure(row: EndpointResult, workload: Workload) -> Figure | None:
    """The figure of a workload that fits."""
    found = row.workloads.get(workload)
    if found is not None and found.outcome == "context_overflow":
        return None
    return row.figures.get(MAIN[workload])


def _value(row: EndpointResult, workload: Workload) -> str:
    figure, found = _figure(row, workload), row.workloads.get(workload)
    if figure is not None:
        return f"{number(figure.value)} {UNITS[MAIN[workload]]}"
    if found is not None and found.outcome == "context_overflow":
        return f"does not fit: {found.reason}"
    return "failed" if found is not None and found.outcome == "failed" else "not measured"


def _heading(workload: Workload) -> str:
    better = "more" if MAIN[workload] in HIGHER_IS_BETTER else "less"
    return f"{TITLES[workload]}: {FIGURES[workload]} ({better} is better)"


def _described(result: Result) -> str:
    parts = [verdict(result).replace("`", "")]
    for workload in WORKLOADS:
        values = "; ".join(f"{row.endpoint} {_value(row, workload)}" for row in result.endpoints)
        parts.append(f"{_heading(workload)}: {values}.")
    return " ".join(parts)


def _line(x: int, y: int, kind: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{_text(text)}</text>'


def _text(text: str) -> str:
    """Text of others in XML."""
    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))
