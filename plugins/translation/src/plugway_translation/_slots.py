"""Assigns pieces of `tool_calls` to calls, whatever ids and indexes a server sends. No I/O.

In the API, `index` numbers the calls, and the first piece of a call has its id and name. Some
servers number all calls 0 (ollama/ollama#15457), or none (ollama/ollama#7881), omit ids, give all
calls the same id or each piece a different one, or repeat the name in every piece.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import BackendProtocolError, as_object
from plugway_translation._arguments import arguments_of
from plugway_translation._versions import Arguments

MAX_CALLS: Final = 1000
"""Limit of tool calls in one reply."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One entry of `tool_calls`."""

    index: Any
    id: str
    name: str
    arguments: str
    extra: Mapping[str, Any]
    """`extra_content`, in which Gemini's OpenAI-compatible endpoint sends the thought signature."""

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Piece:
        """Read an entry; arguments sent as an object are converted to text."""
        function = as_object(entry.get("function")) or entry
        return cls(
            _number(entry.get("index")),
            _text(entry.get("id")),
            _text(function.get("name")),
            arguments_of(function.get("arguments")),
            as_object(entry.get("extra_content")),
        )


class Slot:
    """One call, as far as it has arrived."""

    __slots__ = (
        "arguments",
        "closed",
        "doubtful",
        "extra",
        "id",
        "index",
        "list",
        "name",
        "number",
        "opened",
    )

    def __init__(self, index: Any, number: int) -> None:
        self.index = index
        """The server's number of the call; None if it gives none."""
        self.number = number
        """The position of the call in the reply."""
        self.id = ""
        self.name = ""
        self.arguments = Arguments()
        self.extra: dict[str, Any] = {}
        """Data that the server needs back with the call, not yet sent."""
        self.list = 0
        """Number of the list that held its last piece."""
        self.doubtful = False
        """Started only by a repeated name: not a call unless arguments arrive."""
        self.opened = False
        """Whether its block was opened."""
        self.closed = False
        """Whether its block was closed; later pieces are ignored."""

    @property
    def is_call(self) -> bool:
        """Whether it is a call; known at the end of the reply."""
        return bool(self.name) and not (self.doubtful and not self.arguments.begins)


class Slots:
    """The calls of one reply, in the order in which they began."""

    def __init__(self, names: Container[str]) -> None:
        """`names` are those of the tools that the server was offered."""
        self.all: list[Slot] = []
        self._names = names
        self._by_index: dict[Any, Slot] = {}
        self._by_id: dict[str, Slot] = {}
        self._list = 0

    def next_list(self) -> None:
        """Start a new list of pieces."""
        self._list += 1

    def find(self, piece: Piece, *, whole: bool = False) -> Slot:
        """Return the call of a piece, updated with the piece's id and name.

        With `whole`, every entry is a call.

        Raises:
            BackendProtocolError: there are too many calls.
        """
        slot = None if whole else self._same(piece)
        if slot is None or self._begins(piece, slot):
            if len(self.all) >= MAX_CALLS:
                raise BackendProtocolError(f"it made more than {MAX_CALLS} tool calls")
            before, slot = slot, Slot(piece.index, len(self.all))
            if before is not None and before.list != self._list:
                slot.doubtful = piece.name == before.name and not piece.id
            self.all.append(slot)
        if piece.index is not None:
            self._by_index[piece.index] = slot
        if piece.id and not slot.id:
            slot.id = piece.id
            self._by_id[piece.id] = slot
        slot.name = self._named(slot, piece.name) if piece.name else slot.name
        slot.list = self._list
        slot.extra |= piece.extra
        return slot

    def _same(self, piece: Piece) -> Slot | None:
        """The call that the piece continues, if any."""
        slots = self.all
        if not slots:
            return None
        named = self._by_id.get(piece.id) if piece.id else None
        if piece.index is None:
            return named or slots[-1]
        slot = self._by_index.get(piece.index)
        if slot is not None and (not piece.id or slot.id in ("", piece.id)):
            return slot
        if named is not None and not (piece.name and named.index != piece.index):
            return named  # the same id and a name, but another index: another call
        if slot is not None or piece.id or piece.name:
            return slot
        known = isinstance(piece.index, int) and 0 <= piece.index < len(slots)
        return slots[piece.index] if known and not self._by_index else slots[-1]

    def _begins(self, piece: Piece, slot: Slot) -> bool:
        """Whether the piece starts another call than `slot`, which has its index or id, if any."""
        arguments = slot.arguments
        if piece.id and slot.id and piece.id != slot.id:
            return bool(piece.name) or arguments.complete
        if not piece.name or not slot.name:
            return False
        if slot.list == self._list:  # nothing repeats within one list
            return bool(arguments.begins or not piece.id)
        if piece.name != slot.name:
            return arguments.whole if arguments.begins else self._is_tool(slot, piece.name)
        if len(self._by_index) > 1 or not arguments.whole:
            return False
        return not slot.id or not arguments.is_state(piece.arguments)

    def _is_tool(self, slot: Slot, name: str) -> bool:
        """Whether `name` is a separate tool, not the rest of the name of a call without
        arguments."""
        joined = {slot.name + name, name if name.startswith(slot.name) else slot.name + name}
        return not any(known in self._names for known in joined) and (
            slot.name in self._names or name in self._names
        )

    def _named(self, slot: Slot, name: str) -> str:
        if not slot.name or slot.arguments.begins or name == slot.name:
            return slot.name or name
        return name if name.startswith(slot.name) else slot.name + name


def _number(index: Any) -> Any:
    if isinstance(index, str):
        return int(index) if index.isascii() and index.isdigit() and len(index) < 10 else index
    return index if isinstance(index, int | float) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
