"""What was measured at one endpoint so far, and the figures of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from plugway_bench._bodies import WORKLOADS, Question, Workload
from plugway_bench._exchange import Measured, Overflow
from plugway_bench._result import EndpointResult, Figure, FigureName, WorkloadResult
from plugway_prices import DOLLAR, Price
from plugway_toolcalls import check_arguments

_MOST_FAILURES: Final = 2
"""In a row, after which a workload is given up."""
_MOST_NOTES: Final = 8
_LEAST_STREAMED: Final = 0.5
"""Seconds of replies below which their speed differs from run to run."""
SILENT: Final = "not measured, because it lists no models; `plugway doctor` finds out why"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model of a backend that is measured."""

    name: str
    """The backend's instance."""
    zone: str
    model: str
    """The backend's own id; empty if it lists none."""
    window: int
    price: Price | None
    """None: not known."""

    @property
    def target(self) -> str:
        """`instance/model`, or the instance alone if it lists no model."""
        return f"{self.name}/{self.model}" if self.model else self.name

    @property
    def id(self) -> str:
        """The id that clients send."""
        return f"anthropic/{self.target}"


@dataclass(slots=True)
class _Workload:
    failures: int = 0
    stopped: str = ""
    measured: int = 0
    prompt_tokens: int = 0
    overflow: Overflow | None = None


@dataclass(slots=True)
class Samples:
    """The samples of one endpoint."""

    endpoint: Endpoint
    figures: dict[FigureName, list[float]] = field(default_factory=dict[FigureName, list[float]])
    notes: list[str] = field(default_factory=list[str])
    dropped: str = ""
    """Why the rest is not run."""
    asked: int = 0
    made: int = 0
    valid: int = 0
    nano_dollars: int | None = 0
    streamed: float = 0.0
    """Seconds of all replies whose speed was measured."""
    _workloads: dict[Workload, _Workload] = field(
        default_factory=lambda: {name: _Workload() for name in WORKLOADS}
    )

    @classmethod
    def of_silent(cls, endpoint: Endpoint) -> Samples:
        """Those of a backend that lists no model: none, and why."""
        return cls(endpoint, notes=[SILENT], dropped=SILENT, nano_dollars=0)

    def runs(self, question: Question) -> bool:
        """Whether this question should still be sent."""
        state = self._workloads[question.workload]
        return not (self.dropped or state.stopped or state.overflow)

    def take(self, question: Question, found: Measured, *, counts: bool = True) -> None:
        """Add an exchange; a warm-up does not count, but what it costs does."""
        self._pay(found)
        if found.problem or found.overflow:
            self._failed(question, found)
            return
        state = self._workloads[question.workload]
        state.failures = 0
        if found.odd:
            self.note(f"the server's counts are wrong: {found.odd}")
        elif found.usage:
            read = found.usage.cache_read_tokens
            prompt = found.usage.input_tokens + read + found.usage.cache_creation_tokens
            state.prompt_tokens = max(state.prompt_tokens, prompt)
            if 0 < self.endpoint.window < prompt:
                stated = f"the stated window of {self.endpoint.window:,} tokens"
                self.note(f"a prompt of {prompt:,} tokens was accepted, beyond {stated}")
            if counts and question.workload == "turns":
                self._add("prefix_reuse", read / prompt, 100)
        if not counts:
            return
        state.measured += 1
        self._time(question, found)
        if question.tools:
            self._judge_calls(question, found)

    def take_speed(self, found: Measured) -> None:
        """Add the speed of a reply."""
        self.streamed += found.streaming
        self._add("turns_rate", found.tokens_per_second)

    def cancelled(self, found: Measured, seconds: float | None) -> None:
        """Add a cancellation."""
        if seconds is None:
            self.note(f"cancel: {found.problem or 'the prompt is too long'}")
        else:
            self._add("cancel", seconds, 1000)

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes and len(self.notes) < _MOST_NOTES:
            self.notes.append(text)

    def result(self) -> EndpointResult:
        """The figures so far."""
        endpoint = self.endpoint
        return EndpointResult(
            endpoint=endpoint.target,
            zone=endpoint.zone,
            window=endpoint.window,
            workloads={name: self._outcome(state) for name, state in self._workloads.items()},
            figures={name: _figure(name, values) for name, values in self.figures.items()},
            calls_asked=self.asked,
            calls_made=self.made,
            calls_valid=self.valid,
            dollars=None if self.nano_dollars is None else self.nano_dollars / DOLLAR,
            notes=(*self.notes, *self._too_little()),
        )

    def _too_little(self) -> Iterator[str]:
        if "turns_rate" in self.figures and self.streamed < _LEAST_STREAMED:
            yield (
                f"tokens a second: all replies together lasted {self.streamed:.2g} s, too little "
                "to compare runs by; `--rounds` measures more"
            )

    def _outcome(self, state: _Workload) -> WorkloadResult:
        tokens = state.prompt_tokens or None
        if state.overflow:
            return WorkloadResult(
                outcome="context_overflow",
                reason=str(state.overflow),
                prompt_tokens=state.overflow.tokens,
                window=state.overflow.window,
            )
        if state.measured:
            return WorkloadResult(outcome="measured", reason=state.stopped, prompt_tokens=tokens)
        if state.stopped or state.failures:
            return WorkloadResult(outcome="failed", reason=state.stopped or self.notes[-1])
        return WorkloadResult(outcome="not_run", reason=self.dropped)

    def _failed(self, question: Question, found: Measured) -> None:
        state = self._workloads[question.workload]
        if found.overflow:
            state.overflow = found.overflow
            return
        self.note(f"{question.label} of `{question.workload}`: {found.problem}")
        state.failures += 1
        if found.timed_out or state.failures >= _MOST_FAILURES:
            state.stopped = found.problem
            if question.workload == "turn":
                self.dropped = f"not even one turn of 2K worked: {found.problem}"

    def _time(self, question: Question, found: Measured) -> None:
        first, share = found.first, found.own_seconds
        if question.workload == "turns":
            self._add("turns_first", first, 1000)
            self.take_speed(found)
        elif question.workload == "tools":
            self._add("tools_first", first, 1000)
            self._add("tools_share", share, 1000)
        elif question.label == "warm":
            self._add("first_warm", first, 1000)
        else:
            self._add("first_cold", first, 1000)
            self._add("turn_share", share, 1000)

    def _judge_calls(self, question: Question, found: Measured) -> None:
        offered = question.tools
        self.asked += 1
        if found.calls:
            self.made += 1
            self.valid += all(
                name in offered and not check_arguments(offered[name], arguments or "{}")
                for name, arguments in found.calls
            )

    def _pay(self, found: Measured) -> None:
        price = self.endpoint.price
        if price is None:
            self.nano_dollars = None
        elif not price.free and self.nano_dollars is not None and found.status == 200:
            usage = found.usage
            self.nano_dollars = None if usage is None else self.nano_dollars + price.cost(usage)

    def _add(self, name: FigureName, value: float | None, times: float = 1) -> None:
        if value is not None:
            self.figures.setdefault(name, []).append(value * times)


def _figure(name: FigureName, values: Sequence[float]) -> Figure:
    ordered = sorted(values)
    if name == "tools_first":
        value = ordered[ceil(0.95 * len(ordered)) - 1]
    else:
        value = statistics.median(ordered)
    return Figure(value=value, low=ordered[0], high=ordered[-1], samples=len(ordered))
