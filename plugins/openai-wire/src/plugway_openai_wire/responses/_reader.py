"""An answer of the Responses API as events of the Messages API, piece by piece. No I/O.

Events: `types/responses/response_stream_event.py` of the `openai` SDK. Items may be told side by
side there (`output_index`); here they are told one after the other, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import (
    MAX_EVENT_BYTES,
    BackendProtocolError,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
)
from plugway_openai_wire.responses._failure import failure_in
from plugway_openai_wire.responses._places import ADDED, DONE, Places
from plugway_openai_wire.responses._teller import Item, Reading, Teller

_STARTS: Final = frozenset(("response.created", "response.in_progress", "response.queued"))
_ENDS: Final = frozenset(("response.completed", "response.incomplete", "response.done"))
_FAILS: Final = frozenset(("error", "response.failed", "response.cancelled"))
_KINDS: Final = {
    "response.output_text.delta": "message",
    "response.output_text.done": "message",
    "response.refusal.delta": "message",
    "response.output_text.annotation.added": "message",
    "response.function_call_arguments.delta": "function_call",
    "response.function_call_arguments.done": "function_call",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_summary_part.added": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    ADDED: "",
    DONE: "",
}
"""Events that are read, and the kind of item that they belong to. Others say nothing new."""

_EVENT: Final = 1000
"""What an event is counted for that is kept, beside its text."""


class Reader:
    """Reads one answer. `feed` takes the data of one event and returns what to send now."""

    def __init__(self, reading: Reading) -> None:
        self._with = reading
        self._teller: Teller | None = None
        self._turn: int | None = None
        """Place of the item that is being told."""
        self._items: dict[int, Item] = {}
        self._places = Places()
        self._waiting: dict[int, list[Mapping[str, Any]]] = {}
        self._kept = 0
        """Characters of what waits, and a share for each event."""
        self._told: set[int] = set()

    @property
    def ended(self) -> bool:
        """The end was told: nothing that still comes is of interest."""
        return self._teller is not None and self._teller.ended

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """The events for the data of one event.

        Raises:
            BackendRefused: the answer failed, with the upstream's own words.
            BackendProtocolError: it ended without having said anything.
        """
        kind = str(data.get("type"))
        if self.ended:
            return []
        if kind in _FAILS:
            raise failure_in(data)
        response = as_object(data.get("response"))
        if kind in _KINDS:
            teller, events = self._begun({})
            return [*events, *self._sorted(teller, data, kind)]
        if kind in _ENDS:
            if kind == "response.incomplete":
                response = {**response, "status": "incomplete"}
            teller, events = self._begun(response)
            return [*events, *self._end(teller, response)]
        return self._begun(response)[1] if kind in _STARTS else []

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """All events for an answer that came whole. Raises as `feed` does."""
        if answer.get("status") in ("failed", "cancelled") or answer.get("error"):
            raise failure_in({"response": answer})
        return self.feed({"type": "response.completed", "response": answer})

    def end(self) -> list[StreamEvent]:
        """Nothing, where the answer was whole. Raises `StreamInterrupted` where it was not."""
        if self.ended:
            return []
        raise StreamInterrupted("the upstream's stream stopped before the answer was complete")

    def _begun(self, response: Mapping[str, Any]) -> tuple[Teller, list[StreamEvent]]:
        """The teller, and the start of the message where it has just been made."""
        if self._teller is not None:
            return self._teller, []
        self._teller = Teller(self._with, response)
        return self._teller, self._teller.start()

    def _sorted(self, teller: Teller, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        """What `data` says, now or when it is its item's turn."""
        index = self._places.of(data, _KINDS[kind], kind, self._turn)
        return self._placed(teller, index, data, kind)

    def _placed(
        self, teller: Teller, index: int, data: Mapping[str, Any], kind: str
    ) -> list[StreamEvent]:
        if index in self._told:
            return []
        if self._turn is None:
            self._turn = index
        if index != self._turn:
            self._wait(index, data)
            return []
        events = self._tell(teller, index, data, kind)
        return [*events, *self._next(teller)] if kind == DONE else events

    def _wait(self, index: int, data: Mapping[str, Any]) -> None:
        """Keep what is said of an item until it is its turn."""
        said = data.get("delta") or data.get("text") or data.get("arguments") or ""
        self._kept += _EVENT + len(said if isinstance(said, str) else "")
        if self._kept > MAX_EVENT_BYTES * 2:
            raise BackendProtocolError(
                f"it sends parallel items of more than {MAX_EVENT_BYTES * 2} characters"
            )
        self._waiting.setdefault(index, []).append(data)

    def _next(self, teller: Teller) -> list[StreamEvent]:
        """The item that was told is finished: those that wait, in their order."""
        events: list[StreamEvent] = []
        if self._turn is not None:
            events += teller.left(self._items[self._turn])
            self._told.add(self._turn)
            self._turn = None
        while self._waiting and self._turn is None:
            index = self._turn = min(self._waiting)
            for data in self._waiting.pop(index):
                kind = str(data.get("type"))
                events += self._tell(teller, index, data, kind)
                if kind == DONE:
                    self._told.add(index)
                    self._turn = None
                    break
        return events

    def _tell(
        self, teller: Teller, index: int, data: Mapping[str, Any], kind: str
    ) -> list[StreamEvent]:
        given = as_object(data.get("item"))
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = Item(_KINDS[kind] or str(given.get("type")), given)
        if given:
            item.fields = given
        return teller.tell(item, data, kind)

    def _end(self, teller: Teller, response: Mapping[str, Any]) -> list[StreamEvent]:
        cut = teller.cut_off = response.get("status") == "incomplete"
        output = as_list(response.get("output"))
        places = self._places.matched(output)
        events: list[StreamEvent] = []
        for index, item in zip(places, output, strict=True):
            if index is not None and index not in self._told:  # begun, and whole in the last event
                events += self._placed(teller, index, {"type": DONE, "item": item}, DONE)
        if self._turn is not None:
            events += teller.unfinished(self._items[self._turn], cut=cut)
        events += self._next(teller)
        while self._waiting:
            events += self._next(teller)
            if self._turn is not None:
                events += teller.unfinished(self._items[self._turn], cut=cut)
        everything = teller.empty  # nothing was streamed, or it is a whole answer
        missed = [item for index, item in zip(places, output, strict=True) if index is None]
        for index, item in enumerate(missed, max(self._items, default=-1) + 1):
            if everything or as_object(item).get("type") in ("message", "function_call"):
                events += self._tell(teller, index, {"type": DONE, "item": item}, DONE)
        return events if teller.ended else [*events, *teller.finish(response)]
