"""Puts the tool calls of a Chat Completions stream into an order that blocks allow.

Calls may be interleaved (`index`); in the Messages API one follows the other. The first open call
is streamed, the others are held until it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugway import BackendProtocolError, Emitter, StreamEvent, as_object
from plugway_openai_wire.chat._thinking import AFTER_CALL, BEFORE_CALL
from plugway_translation import FreshIds, Piece, Reasoning, Slot, Slots, ToolNames
from plugway_wire.arguments import object_text
from plugway_wire.gather import MAX_EVENT_BYTES


class Calls:
    """The calls of one reply. Each method returns the events to send now."""

    def __init__(
        self,
        emitter: Emitter,
        names: ToolNames,
        ids: FreshIds,
        reasoning: Reasoning,
        *,
        single: bool = False,
    ) -> None:
        """`reasoning` signs data that must be sent back with a call; `single` drops all calls but
        the first."""
        self._reasoning = reasoning
        self._emitter = emitter
        self._names = names
        self._ids = ids
        self._single = single
        self._slots = Slots(names)
        self._active = 0
        """Position of the call being streamed."""
        self.characters = 0
        self.held = False
        """Send nothing before `end`: the response is not streamed, and each entry is a call."""

    @property
    def any(self) -> bool:
        """Whether any call has arrived."""
        return bool(self._slots.all)

    def feed(self, entries: Sequence[Any]) -> list[StreamEvent]:
        """Add the entries of one `tool_calls`."""
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
        return [] if self.held else self._stream(slot)

    def end(self, *, cut: bool = False) -> list[StreamEvent]:
        """Return the remaining events of all calls, in order.

        `cut`: the reply was truncated. An open call with incomplete arguments then keeps its
        partial JSON, so that the client does not run it; one that was not opened is dropped.
        """
        events: list[StreamEvent] = []
        slots = self._slots.all[:1] if self._single else self._slots.all
        while self._active < len(slots):
            slot = slots[self._active]
            self._active += 1
            if not slot.is_call:
                continue
            text = slot.arguments.text()
            if not cut or (text.strip() and object_text(text) is not None):
                events += [*self._unsent(slot, last=True), *self._close(slot)]
            elif slot.opened:
                events += [*self._unsent(slot, last=True), *self._emitter.close_block()]
            else:
                events += self._emitter.cut_call(self._names.back(slot.name))
        return events

    def _stream(self, slot: Slot) -> list[StreamEvent]:
        slots = self._slots.all
        active = slots[self._active]
        if slot.closed:
            return []
        if slot is active:
            # A block without arguments could end as a call without arguments if none ever arrive.
            fresh = slot.arguments.fresh() if slot.name else ""
            return self._unsent(slot, fresh) if fresh else []
        if not active.arguments.settled or not active.name:
            return []
        events = [*self._unsent(active, last=True), *self._close(active)]
        self._active += 1
        following = slots[self._active]
        return [*events, *(self._stream(following) if following.name else [])]

    def _unsent(self, slot: Slot, fresh: str = "", *, last: bool = False) -> list[StreamEvent]:
        """Events for what can be sent of a call now; `last`: nothing follows."""
        events: list[StreamEvent] = []
        if not slot.opened:
            events += self._carried(slot, BEFORE_CALL)
            tool_id = self._ids.of(slot.id)
            events += self._emitter.tool_start(self._names.back(slot.name), tool_id=tool_id)
            slot.opened = True
        fresh = slot.arguments.rest() if last else fresh
        return [*events, *(self._emitter.tool_arguments(fresh) if fresh else [])]

    def _close(self, slot: Slot) -> list[StreamEvent]:
        """End a call; missing or blank arguments become an empty object."""
        slot.closed = True
        blank = not slot.arguments.text().strip()
        last = self._emitter.tool_arguments("{}") if blank else []
        return [*last, *self._emitter.close_block(), *self._carried(slot, AFTER_CALL)]

    def _carried(self, slot: Slot, place: str) -> list[StreamEvent]:
        """A block with data that the server needs back with the call."""
        if not slot.extra:
            return []
        block = self._reasoning.block("", {place: slot.extra})
        slot.extra = {}
        return self._emitter.block(block)
