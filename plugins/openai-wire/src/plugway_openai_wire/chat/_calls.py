"""Tool calls of a stream of Chat Completions, put into an order in which blocks can be told.

Calls may come side by side (`index`); the Messages API tells one after the other. The call that is
told first goes out as it comes, the others wait until it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from plugway import Emitter, StreamEvent, as_object
from plugway_translation import IdCodec, ToolNames, parse_arguments


class _Slot:
    """One call, as far as it has come."""

    __slots__ = ("id", "key", "name", "told", "written")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.id = ""
        self.name = ""
        self.written: list[str] = []
        self.told = -1
        """Pieces of the arguments that were told; -1 before the block has begun."""

    @property
    def odd(self) -> bool:
        """What has come is no object but a text, or `null`: it is told when it is whole."""
        start = next((piece.lstrip() for piece in self.written if piece.strip()), "")
        return start[:1] in {'"', "n"}

    @property
    def complete(self) -> bool:
        """The arguments are a JSON object: nothing can follow."""
        text = "".join(self.written)
        if not text.rstrip().endswith("}"):
            return False
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            return False
        return True


class Calls:
    """The calls of one answer. Each method returns the events to send now."""

    def __init__(
        self, emitter: Emitter, names: ToolNames, ids: IdCodec, *, single: bool = False
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
            slot.written.append(fragment)
            self.characters += len(fragment)
        return self._tell(slot)

    def end(self) -> list[StreamEvent]:
        """What is left of all calls, in their order."""
        events: list[StreamEvent] = []
        while self._active < len(self._slots):
            slot = self._slots[self._active]
            if slot.name:
                events += self._told(slot)
                events += self._close(slot)
            self._active += 1
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
            slot = _Slot(index)
            self._slots.append(slot)
        return slot

    def _tell(self, slot: _Slot) -> list[StreamEvent]:
        active = self._slots[self._active]
        if slot is active:
            return self._told(slot) if slot.name and (slot.id or slot.written) else []
        if not active.complete or not active.name:
            return []
        events = [*self._told(active), *self._close(active)]
        self._active += 1
        following = self._slots[self._active]
        return [*events, *(self._tell(following) if following.name else [])]

    def _told(self, slot: _Slot) -> list[StreamEvent]:
        """What of a call was not told yet."""
        events: list[StreamEvent] = []
        if slot.told < 0:
            tool_id = self._ids.back(slot.id) if slot.id else None
            events += self._emitter.tool_start(self._names.back(slot.name), tool_id=tool_id)
            slot.told = 0
        if slot.odd:
            return events
        fresh = "".join(slot.written[slot.told :])
        slot.told = len(slot.written)
        return [*events, *(self._emitter.tool_arguments(fresh) if fresh else [])]

    def _close(self, slot: _Slot) -> list[StreamEvent]:
        """The end of a call; one without arguments, or with blanks only, gets an empty object."""
        text = "".join(slot.written)
        last: list[StreamEvent] = []
        if slot.odd:
            meant = parse_arguments(text)
            whole = text if meant is None else orjson.dumps(meant).decode()
            last = self._emitter.tool_arguments(whole)
        elif not text.strip():
            last = self._emitter.tool_arguments("{}")
        return [*last, *self._emitter.close_block()]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
