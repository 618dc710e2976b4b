"""Verdicts on the wire: collect the calls of a reply, and add their verdicts at its end.

The client reads (measured with Claude Code 2.1.332): `message_delta.delta.safeguard_results` of a
stream, `safeguard_results` of a complete message. It does not run a call without a verdict.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Final

import orjson

from plugway import EventStream, StreamEvent, as_list, as_object
from plugway_auto_mode._context import CHECK
from plugway_auto_mode._review import Call, Decision

RESULTS: Final = "safeguard_results"
MAX_ARGUMENTS: Final = 16 * 1024 * 1024
"""Maximum characters of arguments that are kept for all calls of a reply."""
MAX_EXPLANATION: Final = 500

Judged = Callable[[Sequence[Call]], Awaitable[Sequence[Decision]]]


def results_of(decisions: Sequence[Decision], *, asks_user: bool) -> list[dict[str, Any]]:
    """`safeguard_results` for these decisions: one entry per id.

    `asks_user`: the client can ask its user, which it does for a call without an entry.
    """
    verdicts: dict[str, dict[str, Any]] = {}
    for decision in decisions:
        twice = decision.call.id in verdicts
        verdicts[decision.call.id] = _NONE if twice else _verdict(decision)
    if asks_user:
        verdicts = {id_: verdict for id_, verdict in verdicts.items() if verdict is not _NONE}
    return [{"type": CHECK, "status": {"type": "available", "tool_uses": verdicts}}]


_NONE: Final[dict[str, Any]] = {"type": "unavailable", "reason": "error"}


def _verdict(decision: Decision) -> dict[str, Any]:
    if decision.outcome == "passed":
        return {"type": "evaluated", "outcome": "not_flagged"}
    if decision.outcome == "flagged":
        text = decision.reason[:MAX_EXPLANATION]
        return {"type": "evaluated", "outcome": "flagged", "explanation": text}
    return _NONE


def calls_in(message: Mapping[str, Any]) -> list[Call]:
    """The calls of a complete message."""
    blocks = [as_object(block) for block in as_list(message.get("content"))]
    return [
        Call(str(b.get("id")), str(b.get("name")), _arguments(b.get("input")))
        for b in blocks
        if b.get("type") == "tool_use"
    ]


def _arguments(value: Any) -> Mapping[str, Any] | None:
    return as_object(value) if isinstance(value, dict) else None


@dataclass(slots=True)
class _Open:
    """A call whose arguments are still being received."""

    id: str
    name: str
    start: dict[str, Any]
    text: StringIO = field(default_factory=StringIO)
    whole: bool = True


class VerdictStream:
    """A stream that reports at its end which of its calls may run."""

    def __init__(
        self, stream: EventStream, judged: Judged, *, keeps: bool, asks_user: bool
    ) -> None:
        """`keeps`: keep the upstream's verdicts for calls that no plugin has changed."""
        self._source = stream
        self._events: AsyncIterator[StreamEvent] = aiter(stream)
        self._judged = judged
        self._keeps = keeps
        self._asks_user = asks_user
        self._room = MAX_ARGUMENTS
        self._open: dict[Any, _Open] = {}
        self._calls: list[Call] = []
        self._untouched = True
        """Whether every event of a call so far has the upstream's own bytes."""
        self._results: list[dict[str, Any]] | None = None

    def __aiter__(self) -> VerdictStream:
        """The events; the last one has the verdicts."""
        return self

    @property
    def pending(self) -> bool:
        """Whether the next event is available."""
        return getattr(self._source, "pending", False) is True

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        item = await anext(self._events)
        match item.type:
            case "content_block_delta":
                if self._open:
                    self._delta(item)
            case "content_block_start":
                self._start(item)
            case "content_block_stop":
                if self._open:
                    self._stop(item)
            case "message_delta":
                return await self._end(item)
            case "message_start":
                return _without_results(item)
            case _:
                pass
        return item

    async def aclose(self) -> None:
        """Does nothing: the kernel closes the inner stream."""

    def _start(self, item: StreamEvent) -> None:
        block = as_object(item.data.get("content_block"))
        if block.get("type") != "tool_use":
            return
        index = item.data.get("index")
        if index in self._open:  # the previous call with this index never stopped
            self._finish(self._open.pop(index), None)
        self._untouched = self._untouched and item.raw is not None
        given = as_object(block.get("input"))
        self._open[index] = _Open(str(block.get("id")), str(block.get("name")), given)

    def _delta(self, item: StreamEvent) -> None:
        call = self._open.get(item.data.get("index"))
        part = as_object(item.data.get("delta")).get("partial_json")
        if call is None or not isinstance(part, str):
            return
        self._untouched = self._untouched and item.raw is not None
        self._room -= len(part)
        if self._room < 0:
            call.whole, call.text = False, StringIO()
        elif call.whole:
            call.text.write(part)

    def _stop(self, item: StreamEvent) -> None:
        call = self._open.pop(item.data.get("index"), None)
        if call is None:
            return
        text = call.text.getvalue()
        try:
            given: Any = orjson.loads(text) if text.strip() else call.start
        except orjson.JSONDecodeError:
            given = None
        self._finish(call, _arguments(given) if call.whole else None)

    def _finish(self, call: _Open, given: Mapping[str, Any] | None) -> None:
        self._calls.append(Call(call.id, call.name, given))
        self._results = None

    async def _end(self, item: StreamEvent) -> StreamEvent:
        while self._open:
            self._finish(self._open.popitem()[1], None)
        delta = as_object(item.data.get("delta"))
        if self._keeps and self._untouched and covers(delta.get(RESULTS), self._calls):
            return item
        if self._results is None:
            decisions = await self._judged(self._calls)
            self._results = results_of(decisions, asks_user=self._asks_user)
        data = {key: value for key, value in item.data.items() if key != RESULTS}
        return StreamEvent(item.type, {**data, "delta": {**delta, RESULTS: self._results}})


def covers(results: Any, calls: Sequence[Call]) -> bool:
    """Whether an upstream's verdicts cover all of these calls."""
    found: set[str] = set()
    for result in as_list(results):
        entry = as_object(result)
        if entry.get("type") == CHECK:
            found |= as_object(as_object(entry.get("status")).get("tool_uses")).keys()
    return found >= {call.id for call in calls}


def _without_results(start: StreamEvent) -> StreamEvent:
    """A `message_start` without verdicts, which would precede the calls that they are about."""
    message = as_object(start.data.get("message"))
    if RESULTS not in message:
        return start
    kept = {name: value for name, value in message.items() if name != RESULTS}
    return StreamEvent(start.type, {**start.data, "message": kept})
