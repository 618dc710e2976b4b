"""The report of a replay: a sentence per target, a table, the differences; Markdown and JSON.

It quotes arguments that differ (paths, commands), and no prose.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson

from plugway import write_file
from plugway_prices import dollars
from plugway_recorder._compare import KINDS
from plugway_recorder._replay import Replayed

_MOST_LISTED: Final = 12
HOW: Final = """\
A turn *would have worked* if the model called the same tools, with arguments that are valid for
their schemas and the same where it matters, and ended the turn for the same reason. Paths and
commands are compared in a normal form. Free text (descriptions, contents of files, patches, texts
of six words and more) and time limits are not compared, and nothing that the model says is judged.
Each turn starts from the recorded conversation, whatever the model did in the turn before. No tool
was run. Rate limits, overload and broken connections are not counted as mistakes of the model."""


@dataclass(slots=True)
class TargetReport:
    """The results of one target."""

    target: str
    zone: str
    planned: int
    """Turns that were to be sent."""
    results: list[Replayed] = field(default_factory=list[Replayed])
    stopped: str = ""
    """Why not all turns were sent."""
    costs: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    """Nano-dollars by turn; None where no price is known."""

    @property
    def worked(self) -> int:
        """Turns that would have worked."""
        return sum(one.result == "same" for one in self.results)

    @property
    def judged(self) -> int:
        """Turns that were compared."""
        return sum(one.result != "unmeasured" for one in self.results)

    @property
    def differences(self) -> list[Replayed]:
        """Turns that would not have worked, in their order."""
        return [one for one in self.results if one.difference is not None]

    @property
    def cost(self) -> int | None:
        """Nano-dollars; None if any price is not known."""
        known = [one for one in self.costs.values() if one is not None]
        return sum(known) if len(known) == len(self.costs) else None

    def sentence(self) -> str:
        """What a person wants to know."""
        turns = f"{self.judged} turn{'s' * (self.judged != 1)}"
        text = f"{self.worked} of {turns} would have worked on `{self.target}`."
        if (first := next(iter(self.differences), None)) and first.difference:
            what = KINDS[first.difference.kind]
            why = _line(first.difference.text)
            text += f" The first that would not: turn {first.number} ({what}: {why})."
        window = [one for one in self.differences if _kind(one) == "window"]
        if window and window[0] is not first:
            text += f" Turn {window[0].number} is the first that does not fit its window."
        if missed := [one for one in self.results if one.result == "unmeasured"]:
            text += f" {len(missed)} could not be measured (turn {missed[-1].number}: "
            text += f"{_line(missed[-1].why)})."
        if self.stopped:
            text += f" {self.planned - len(self.results)} were not sent: {self.stopped}."
        return text

    def as_json(self) -> dict[str, Any]:
        """All that is known, as JSON-ready data."""
        return {
            "target": self.target,
            "zone": self.zone,
            "planned": self.planned,
            "judged": self.judged,
            "worked": self.worked,
            "stopped": self.stopped,
            "nano_dollars": self.cost,
            "turns": [
                {**asdict(one), "nano_dollars": self.costs.get(str(one.number))}
                for one in self.results
            ],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The whole report."""

    conversation: str
    targets: Sequence[TargetReport]
    recorded_on: Sequence[str]
    """Targets that served the recorded turns."""
    others: int
    """Recorded requests that were not replayed: not chosen, or a client's own, such as titles."""
    version: str
    at: float

    def markdown(self) -> str:
        """The page."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.at))
        lines = [f"# Replay of `{self.conversation}`", ""]
        lines += [f"**{one.sentence()}**  " for one in self.targets]
        lines += ["", *self._table(), ""]
        for one in self.targets:
            lines += _differences(one)
        served = ", ".join(f"`{target}`" for target in self.recorded_on) or "unknown"
        lines += ["## How it was compared", "", HOW, ""]
        lines += self._notes()
        if self.others:
            lines.append(f"- {self.others} other requests of the recording were not replayed.")
        lines += [f"- Recorded on {served}; replayed {when} by Plugway {self.version}.", ""]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """The same for scripts, with every turn."""
        return {
            "conversation": self.conversation,
            "at": self.at,
            "version": self.version,
            "recorded_on": list(self.recorded_on),
            "not_replayed": self.others,
            "targets": [one.as_json() for one in self.targets],
        }

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both files, readable by this user only; returns their paths. No other report is
        replaced, such as one of the same second."""
        when = time.strftime("%Y%m%d-%H%M%S", time.localtime(self.at))
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in self.conversation)[:12]
        page = _free(folder, f"replay-{safe}-{when}")
        data = page.with_suffix(".json")
        write_file(page, self.markdown().encode())
        write_file(data, orjson.dumps(self.as_json(), option=orjson.OPT_INDENT_2))
        return page, data

    def _table(self) -> list[str]:
        head = ["", *(f"`{one.target}`" for one in self.targets)]
        rows = [
            ("would have worked", [f"{one.worked} of {one.judged}" for one in self.targets]),
            *(
                (text, [str(sum(_kind(r) == kind for r in one.results)) for one in self.targets])
                for kind, text in KINDS.items()
            ),
            ("not measured", [str(len(one.results) - one.judged) for one in self.targets]),
            ("seconds per turn, median", [_median(one, "seconds") for one in self.targets]),
            ("seconds to the first word", [_median(one, "first_seconds") for one in self.targets]),
            ("prompt tokens", [f"{_tokens(one, 'input', 'cache'):,}" for one in self.targets]),
            ("tokens of replies", [f"{_tokens(one, 'output'):,}" for one in self.targets]),
            ("retries", [str(sum(r.retries for r in one.results)) for one in self.targets]),
            ("cost", [_cost(one.cost) for one in self.targets]),
        ]
        lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
        shown = [(name, cells) for name, cells in rows if set(cells) != {"0"}]
        return [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in shown)]

    def _notes(self) -> list[str]:
        results = [r for one in self.targets for r in one.results]
        free = Counter(name for r in results for name in r.free)
        left_out = sorted({name for r in results for name in r.left_out})
        notes: list[str] = []
        if free:
            named = ", ".join(f"`{name}` ({n})" for name, n in free.most_common(12))
            notes.append(f"- Not compared, as free text: {named}.")
        if left_out:
            named = ", ".join(f"`{name}`" for name in left_out)
            notes.append(f"- Left out of the requests, because a server would run it: {named}.")
        return notes


def _free(folder: Path, stem: str) -> Path:
    """A new Markdown file with that name or, if it is taken, with a number."""
    for number in itertools.count(1):
        path = folder / f"{stem}{f'-{number}' * (number > 1)}.md"
        with suppress(FileExistsError):
            path.touch(0o600, exist_ok=False)
            return path
    raise AssertionError("there are more numbers")


def _differences(one: TargetReport) -> list[str]:
    listed, missed = one.differences, [r for r in one.results if r.result == "unmeasured"]
    if not listed and not missed:
        return []
    lines = [f"## `{one.target}`", ""]
    for r in listed[:_MOST_LISTED]:
        assert r.difference is not None
        lines.append(f"- Turn {r.number}, {KINDS[r.difference.kind]}: {_line(r.difference.text)}")
    if len(listed) > _MOST_LISTED:
        lines.append(f"- {len(listed) - _MOST_LISTED} more are in the JSON file.")
    lines += [f"- Turn {r.number}, not measured: {_line(r.why)}" for r in missed[:_MOST_LISTED]]
    return [*lines, ""]


def _line(text: str) -> str:
    """A text from outside on one line, without markup for HTML and without control characters."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return plain.replace("<", "&lt;")


def _kind(one: Replayed) -> str:
    return one.difference.kind if one.difference else ""


def _median(one: TargetReport, name: str) -> str:
    answered = [r for r in one.results if any(r.usage.values())]
    values = [value for r in answered if (value := getattr(r, name)) is not None]
    return f"{median(values):.2f}" if values else "unknown"


def _tokens(one: TargetReport, *beginnings: str) -> int:
    return sum(
        count for r in one.results for name, count in r.usage.items() if name.startswith(beginnings)
    )


def _cost(amount: int | None) -> str:
    return "unknown" if amount is None else dollars(amount)
