"""Tool calls of a stream of Chat Completions, put into an order in which blocks can be told.

Calls may come side by side (`index`); the Messages API tells one after the other. The call that is
told first goes out as it comes, the others wait until it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugway import (
    MAX_EVENT_BYTES,
    BackendProtocolError,
    Emitter,
    StreamEvent,
    as_object,
    object_text,
)
from plugway_openai_wire.chat._slots import Piece, Slot, Slots
from plugway_openai_wire.chat._thinking import AFTER_CALL, BEFORE_CALL
from plugway_translation import FreshIds, Reasoning, ToolNames


class Calls:
    """The calls of one answer. Each method returns the events to send now."""

    def __init__(
        self,
        emitter: Emitter,
        names: ToolNames,
        ids: FreshIds,
        reasoning: Reasoning,
        *,
        single: bool = False,
    ) -> None:
        """`reasoning` signs what the server wants back with a call; `single` leaves out all calls
        but the first."""
        self._reasoning = reasoning
        self._emitter = emitter
        self._names = names
        self._ids = ids
        self._single = single
        self._slots = Slots(names)
        self._active = 0
        """Position of the call that is told."""
        self.characters = 0
        self.held = False
        """Nothing is told before `end`: the answer comes whole, and each entry is a call."""

    @property
    def any(self) -> bool:
        """A call has come."""
        return bool(self._slots.all)

    def feed(self, entries: Sequence[Any]) -> list[StreamEvent]:
        """The entries of one `tool_calls`."""
        self._slots.next_list()
        events: list[StreamEvent] = []
        for entry in entries:
            events += self._piece(as_object(entry))
        return events

    def _piece(self, entry: Mapping[str, Any]) -> list[StreamEvent]:
        piece = Piece.of(entry)
        slot = self._slots.find(piece, whole=self.held)
        if self._single and slot is not self._slots.all[0]:
            return []
        if piece.arguments:
            self.characters += slot.arguments.add(piece.arguments)
            if self.characters > MAX_EVENT_BYTES:
                raise BackendProtocolError(
                    f"its tool calls have more than {MAX_EVENT_BYTES} characters of arguments"
                )
        return [] if self.held else self._tell(slot)

    def end(self, *, cut: bool = False) -> list[StreamEvent]:
        """What is left of all calls, in their order.

        `cut`: the answer was cut off. A call whose arguments have not come whole is then left as it
        is where its block has begun: not closed, so that nobody makes it; else it is left out.
        """
        events: list[StreamEvent] = []
        slots = self._slots.all[:1] if self._single else self._slots.all
        while self._active < len(slots):
            slot = slots[self._active]
            self._active += 1
            text = slot.arguments.text()
            if not slot.name or (slot.doubtful and not text.strip()):
                continue
            if not cut or (text.strip() and object_text(text) is not None):
                events += [*self._told(slot, last=True), *self._close(slot)]
            elif slot.told:
                events += [*self._told(slot, last=True), *self._emitter.close_block()]
            else:
                events += self._emitter.cut_call(self._names.back(slot.name))
        return events

    def _tell(self, slot: Slot) -> list[StreamEvent]:
        slots = self._slots.all
        active = slots[self._active]
        if slot.closed:
            return []
        if slot is active:
            # A block without arguments would be a call without them, should they never come.
            fresh = slot.arguments.fresh() if slot.name else ""
            return self._told(slot, fresh) if fresh else []
        if not active.arguments.settled or not active.name:
            return []
        events = [*self._told(active, last=True), *self._close(active)]
        self._active += 1
        following = slots[self._active]
        return [*events, *(self._tell(following) if following.name else [])]

    def _told(self, slot: Slot, fresh: str = "", *, last: bool = False) -> list[StreamEvent]:
        """What of a call was not told yet, as far as it is sure; `last`: nothing follows."""
        events: list[StreamEvent] = []
        if not slot.told:
            events += self._carried(slot, BEFORE_CALL)
            tool_id = self._ids.of(slot.id)
            events += self._emitter.tool_start(self._names.back(slot.name), tool_id=tool_id)
            slot.told = True
        fresh = slot.arguments.rest() if last else fresh
        return [*events, *(self._emitter.tool_arguments(fresh) if fresh else [])]

    def _close(self, slot: Slot) -> list[StreamEvent]:
        """The end of a call; one without arguments, or with blanks only, gets an empty object."""
        slot.closed = True
        blank = not slot.arguments.text().strip()
        last = self._emitter.tool_arguments("{}") if blank else []
        return [*last, *self._emitter.close_block(), *self._carried(slot, AFTER_CALL)]

    def _carried(self, slot: Slot, place: str) -> list[StreamEvent]:
        """What the server wants back with a call, in a block of its own beside it."""
        if not slot.extra:
            return []
        block = self._reasoning.block("", {place: slot.extra})
        slot.extra = {}
        return self._emitter.block(block)
