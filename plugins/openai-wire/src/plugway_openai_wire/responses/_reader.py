"""Reads a Responses API reply as Messages API events, piece by piece. No I/O.

Events: `types/responses/response_stream_event.py` of the `openai` SDK. There items may be
interleaved (`output_index`); here they are written one after the other, in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import BackendProtocolError, StreamEvent, StreamInterrupted, as_list, as_object
from plugway_openai_wire.responses._failure import failure_in
from plugway_openai_wire.responses._positions import ADDED, DONE, ItemPositions
from plugway_openai_wire.responses._writer import BlockWriter, Item, ReplyContext
from plugway_wire.gather import MAX_EVENT_BYTES

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
"""Events that are read, and the kind of item they belong to. Others add nothing."""

_EVENT: Final = 1000
"""Overhead counted for each event that is held back."""


class Reader:
    """Reads one reply. `feed` takes the data of one event and returns the events to send now."""

    def __init__(self, reading: ReplyContext) -> None:
        self._with = reading
        self._writer: BlockWriter | None = None
        self._turn: int | None = None
        """Position of the item being written."""
        self._items: dict[int, Item] = {}
        self._positions = ItemPositions()
        self._waiting: dict[int, list[Mapping[str, Any]]] = {}
        self._kept = 0
        """Size of the held events in characters, with their overhead."""
        self._written: set[int] = set()

    @property
    def ended(self) -> bool:
        """Whether the end was written; later events are ignored."""
        return self._writer is not None and self._writer.ended

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """Return the events for the data of one event.

        Raises:
            BackendRefused: the reply failed; carries the upstream's message.
            BackendProtocolError: the reply ended without content.
        """
        kind = str(data.get("type"))
        if self.ended:
            return []
        if kind in _FAILS:
            raise failure_in(data)
        response = as_object(data.get("response"))
        if kind in _KINDS:
            writer, events = self._begun({})
            return [*events, *self._sorted(writer, data, kind)]
        if kind in _ENDS:
            if kind == "response.incomplete":
                response = {**response, "status": "incomplete"}
            writer, events = self._begun(response)
            return [*events, *self._end(writer, response)]
        return self._begun(response)[1] if kind in _STARTS else []

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """Return all events of a complete response. Raises like `feed`."""
        if answer.get("status") in ("failed", "cancelled") or answer.get("error"):
            raise failure_in({"response": answer})
        return self.feed({"type": "response.completed", "response": answer})

    def end(self) -> list[StreamEvent]:
        """Return nothing if the reply was complete; raise `StreamInterrupted` otherwise."""
        if self.ended:
            return []
        raise StreamInterrupted("the upstream's stream stopped before the answer was complete")

    def _begun(self, response: Mapping[str, Any]) -> tuple[BlockWriter, list[StreamEvent]]:
        """Return the writer, and the start of the message if the writer is new."""
        if self._writer is not None:
            return self._writer, []
        self._writer = BlockWriter(self._with, response)
        return self._writer, self._writer.start()

    def _sorted(self, writer: BlockWriter, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        """Write `data` now, or hold it until its item's turn."""
        index = self._positions.of(data, _KINDS[kind], kind, self._turn)
        return self._placed(writer, index, data, kind)

    def _placed(
        self, writer: BlockWriter, index: int, data: Mapping[str, Any], kind: str
    ) -> list[StreamEvent]:
        if index in self._written:
            return []
        if self._turn is None:
            self._turn = index
        if index != self._turn:
            self._wait(index, data)
            return []
        events = self._write(writer, index, data, kind)
        return [*events, *self._next(writer)] if kind == DONE else events

    def _wait(self, index: int, data: Mapping[str, Any]) -> None:
        """Hold an event until its item's turn."""
        text = data.get("delta") or data.get("text") or data.get("arguments") or ""
        self._kept += _EVENT + len(text if isinstance(text, str) else "")
        if self._kept > MAX_EVENT_BYTES * 2:
            raise BackendProtocolError(
                f"it sends parallel items of more than {MAX_EVENT_BYTES * 2} characters"
            )
        self._waiting.setdefault(index, []).append(data)

    def _next(self, writer: BlockWriter) -> list[StreamEvent]:
        """Finish the current item, then write the held items in order."""
        events: list[StreamEvent] = []
        if self._turn is not None:
            events += writer.rest(self._items[self._turn])
            self._written.add(self._turn)
            self._turn = None
        while self._waiting and self._turn is None:
            index = self._turn = min(self._waiting)
            for data in self._waiting.pop(index):
                kind = str(data.get("type"))
                events += self._write(writer, index, data, kind)
                if kind == DONE:
                    self._written.add(index)
                    self._turn = None
                    break
        return events

    def _write(
        self, writer: BlockWriter, index: int, data: Mapping[str, Any], kind: str
    ) -> list[StreamEvent]:
        given = as_object(data.get("item"))
        item = self._items.get(index)
        if item is None:
            item = self._items[index] = Item(_KINDS[kind] or str(given.get("type")), given)
        if given:
            item.fields = given
        return writer.write(item, data, kind)

    def _end(self, writer: BlockWriter, response: Mapping[str, Any]) -> list[StreamEvent]:
        cut = writer.cut_off = response.get("status") == "incomplete"
        output = as_list(response.get("output"))
        places = self._positions.matched(output)
        events: list[StreamEvent] = []
        for index, item in zip(places, output, strict=True):
            if index is not None and index not in self._written:  # started, complete only here
                events += self._placed(writer, index, {"type": DONE, "item": item}, DONE)
        if self._turn is not None:
            events += writer.unfinished(self._items[self._turn], cut=cut)
        events += self._next(writer)
        while self._waiting:
            events += self._next(writer)
            if self._turn is not None:
                events += writer.unfinished(self._items[self._turn], cut=cut)
        everything = writer.empty  # nothing was streamed, or the response is not a stream
        missed = [item for index, item in zip(places, output, strict=True) if index is None]
        for index, item in enumerate(missed, max(self._items, default=-1) + 1):
            if everything or as_object(item).get("type") in ("message", "function_call"):
                events += self._write(writer, index, {"type": DONE, "item": item}, DONE)
        return events if writer.ended else [*events, *writer.finish(response)]
