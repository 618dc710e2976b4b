"""Tool calls of a stream of Chat Completions, put into an order in which blocks can be told.

Calls may come side by side (`index`); the Messages API tells one after the other. The call that is
told first goes out as it comes, the others wait until it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import MAX_EVENT_BYTES, BackendProtocolError, Emitter, StreamEvent, as_object
from plugway_openai_wire._arguments import Arguments
from plugway_openai_wire._whole import is_json
from plugway_translation import FreshIds, ToolNames, parse_arguments

MAX_CALLS: Final = 1000
"""Tool calls of one answer."""


class _Slot:
    """One call, as far as it has come."""

    __slots__ = ("arguments", "closed", "id", "key", "name", "told")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.id = ""
        self.name = ""
        self.arguments = Arguments()
        self.told = False
        """The block has begun."""
        self.closed = False
        """The block has ended: it was complete, and what still comes for it is not of the call."""

    @property
    def odd(self) -> bool:
        """What has come is no object but a text, or `null`: it is told when it is whole."""
        return self.arguments.begins in {'"', "n"}


class Calls:
    """The calls of one answer. Each method returns the events to send now."""

    def __init__(
        self, emitter: Emitter, names: ToolNames, ids: FreshIds, *, single: bool = False
    ) -> None:
        """`single` leaves out all calls but the first."""
        self._emitter = emitter
        self._names = names
        self._ids = ids
        self._single = single
        self._slots: list[_Slot] = []
        self._active = 0
        """Position of the call that is told."""
        self.characters = 0
        self.held = False
        """Nothing is told before `end`: the answer comes whole."""

    @property
    def any(self) -> bool:
        """A call has come."""
        return bool(self._slots)

    def feed(self, piece: Mapping[str, Any]) -> list[StreamEvent]:
        """One entry of `delta.tool_calls`."""
        function = as_object(piece.get("function"))
        slot = self._slot(piece.get("index"), _text(piece.get("id")))
        if slot is None:
            return []
        slot.id = slot.id or _text(piece.get("id"))
        slot.name = slot.name or _text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama's own form
            arguments = orjson.dumps(arguments).decode()
        if fragment := _text(arguments):
            self.characters += slot.arguments.add(fragment)
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
        while self._active < len(self._slots):
            slot = self._slots[self._active]
            self._active += 1
            if not slot.name:
                continue
            if not cut or is_object(slot.arguments.text()) or is_whole_text(slot.arguments.text()):
                events += [*self._told(slot, last=True), *self._close(slot)]
            elif slot.told:
                events += [*self._told(slot, last=True), *self._emitter.close_block()]
            else:
                events += self._emitter.cut_call(self._names.back(slot.name))
        return events

    def _slot(self, index: Any, call_id: str) -> _Slot | None:
        """The call that a piece belongs to; None where it is left out.

        Some servers number every call 0, or none: then another id is another call.
        """
        found = [s for s in self._slots if s.key == index] if index is not None else self._slots
        slot = found[-1] if found else None
        if call_id:
            same = next((s for s in found if s.id == call_id), None)
            another = slot is not None and slot.id and slot.id != call_id
            slot = same or (None if another else slot)
        if slot is None:
            if self._single and self._slots:
                return None
            if len(self._slots) >= MAX_CALLS:
                raise BackendProtocolError(f"it made more than {MAX_CALLS} tool calls")
            slot = _Slot(index)
            self._slots.append(slot)
        return slot

    def _tell(self, slot: _Slot) -> list[StreamEvent]:
        active = self._slots[self._active]
        if slot.closed:
            return []
        if slot is active:
            # A block without arguments would be a call without them, should they never come.
            begun = slot.name and slot.arguments.begins
            return self._told(slot) if begun and not slot.odd else []
        if not active.arguments.complete or not active.name:
            return []
        events = [*self._told(active, last=True), *self._close(active)]
        self._active += 1
        following = self._slots[self._active]
        return [*events, *(self._tell(following) if following.name else [])]

    def _told(self, slot: _Slot, *, last: bool = False) -> list[StreamEvent]:
        """What of a call was not told yet, as far as it is sure; `last`: nothing follows."""
        events: list[StreamEvent] = []
        if not slot.told:
            tool_id = self._ids.of(slot.id)
            events += self._emitter.tool_start(self._names.back(slot.name), tool_id=tool_id)
            slot.told = True
        if slot.odd:
            return events
        fresh = slot.arguments.rest() if last else slot.arguments.fresh()
        return [*events, *(self._emitter.tool_arguments(fresh) if fresh else [])]

    def _close(self, slot: _Slot) -> list[StreamEvent]:
        """The end of a call; one without arguments, or with blanks only, gets an empty object."""
        slot.closed = True
        text = slot.arguments.text()
        last: list[StreamEvent] = []
        if slot.odd:
            meant = parse_arguments(text)
            whole = text if meant is None else orjson.dumps(meant).decode()
            last = self._emitter.tool_arguments(whole)
        elif not text.strip():
            last = self._emitter.tool_arguments("{}")
        return [*last, *self._emitter.close_block()]


def is_object(text: str) -> bool:
    """Whether arguments are a JSON object, whole as it stands."""
    return text.rstrip().endswith("}") and is_json(text)


def is_whole_text(text: str) -> bool:
    """Whether arguments are a JSON string or `null`, whole as they stand."""
    begun = text.strip()
    return begun == "null" or (begun[:1] == '"' and parse_arguments(begun) is not None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
