"""Notes on what a translation changed, for the receipt."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from plugway import as_object

Action = Literal["translate", "emulate", "drop", "reject"]
"""`translate`: expressed differently, with a loss; `emulate`: done here; `drop`: left out;
`reject`: the request is rejected. What is preserved, or translated without loss, needs no note."""


_NO_BOUNDS: Final = ("$schema", "$id", "$comment", "additionalProperties", "default", "title")
"""Schema keywords that restrict nothing, or that most schemas have."""


@dataclass(frozen=True, slots=True)
class Note:
    """One change to one field."""

    field: str
    """A body field, or a dotted path such as `tools.cache_control`."""
    action: Action
    because: str


class Notes:
    """The notes of one translation; equal notes are counted."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Note, int] = {}

    def add(self, field: str, action: Action, because: str) -> None:
        """Note a change to `field`."""
        note = Note(field, action, because)
        self._counts[note] = self._counts.get(note, 0) + 1

    def extend(self, notes: Sequence[Note]) -> None:
        """Add the notes in a sequence."""
        for note in notes:
            self._counts[note] = self._counts.get(note, 0) + 1

    def include(self, other: Notes) -> None:
        """Add all notes of `other`, with their counts."""
        for note, n in other._counts.items():
            self._counts[note] = self._counts.get(note, 0) + n

    def of_tool(self, name: str, notes: Sequence[Note]) -> None:
        """Add notes on a tool's schema; a note on a dropped bound names the tool."""
        for note in notes:
            lost = note.action == "drop" and not note.field.endswith(_NO_BOUNDS)
            self.add(note.field, note.action, f"`{name}`: {note.because}" if lost else note.because)

    def __iter__(self) -> Iterator[Note]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def without(self, fields: Collection[str]) -> Notes:
        """A copy without the notes on `fields`."""
        new = Notes()
        new._counts = {note: n for note, n in self._counts.items() if note.field not in fields}
        return new

    def fields(self) -> set[str]:
        """The changed fields."""
        return {note.field for note in self._counts}

    def lines(self) -> list[str]:
        """One line per note for the receipt: `drop top_k: the API has none (2 times)`."""
        return [
            f"{note.action} {note.field}: {note.because}" + (f" ({n} times)" if n > 1 else "")
            for note, n in self._counts.items()
        ]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field is treated; a translator's policy is a table of these."""

    action: Literal["preserve", "translate", "emulate", "drop", "reject"]
    because: str = ""
    """Why it is dropped or rejected, or what it becomes; shown to users."""
    nothing: tuple[Any, ...] = ()
    """Values that have no effect, so that dropping them needs no note."""


def note_extras(
    blocks: Iterable[Any], where: str, reasons: Mapping[str, str], notes: Notes
) -> None:
    """Note the fields of blocks that are dropped: those listed in `reasons`."""
    for block in map(as_object, blocks):
        for key, because in reasons.items():
            if block.get(key):
                notes.add(f"{where}.{key}", "drop", because)


_TYPES: Final = (
    "advisor apply approval audio bash browser call choice code compaction computer container"
    " content context conv custom delta document edit editor error execution fetch fetched file"
    " function generation image input interpreter item list local mcp memory message mid namespace"
    " output patch preview reasoning redacted reference request response result results search"
    " server shell system text thinking tool tools uploaded upload url use video web"
)
_WORDS: Final = frozenset(_TYPES.split())
_NUMBER: Final = re.compile(r"[0-9]{1,8}")


def type_name(kind: object) -> str:
    """A `type` of a request in a form safe for notes: `unknown` unless it consists of words that
    the APIs use in their types, such as `web_search_20250305`; others may contain anything.
    """
    words = str(kind)[:80].split("_")
    fits = all(word in _WORDS or _NUMBER.fullmatch(word) for word in words)
    return "_".join(words) if fits else "unknown"


def drop_by(
    table: Mapping[str, Rule], names: Iterator[str] | Sequence[str], notes: Notes, prefix: str = ""
) -> None:
    """Note those of the fields `names` that the table drops or does not list."""
    for name in names:
        rule = table.get(name)
        if rule is None:
            notes.add(prefix + name[:64], "drop", "unknown field")
        elif rule.action == "drop":
            notes.add(prefix + name, "drop", rule.because)
