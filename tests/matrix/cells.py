"""The word of a cell, derived from what was sent, what arrived, and what the receipt says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from tests.receipts.facts import Facts
from tests.receipts.lines import explained

Word = Literal["kept", "translated", "emulated", "dropped with a line", "refused", "lost", "–"]
FINE: Final = ("kept", "translated", "emulated", "dropped with a line", "refused", "–")
"""Everything but what nobody is told of."""


@dataclass(frozen=True)
class Cell:
    """What became of one feature."""

    word: Word
    lines: tuple[str, ...] = ()
    """What the receipt says of it, or the error."""
    why: str = ""
    """What is missing, where it is lost."""


NOTHING: Final = Cell("–")
"""Neither the API of the client nor the one of the backend has it."""

_VERBS: Final[Mapping[str, Word]] = {
    "drop": "dropped with a line",
    "remove": "dropped with a line",
    "emulate": "emulated",
    "translate": "translated",
    "add": "translated",
    "set": "translated",
}
_LEFT_OUT: Final = re.compile(r"left out|takes no|does not support (effort|sampling)|: drop ")
"""What a line about a field that was changed (`set tools: ...`) says of what is not there now."""


def verb(line: str) -> Word | None:
    """What a line of a receipt says was done."""
    first = line.split(" ", 1)[0]
    if first == "set" and _LEFT_OUT.search(line):
        return "dropped with a line"
    return _VERBS.get(first)


def unpaired(facts: Facts) -> Facts:
    """The same, with each id of a call replaced by the call that it is of."""
    calls: dict[str, str] = {}
    found: Facts = Counter()
    for (feature, said), times in facts.items():
        if feature == "call":
            id_, name, given = json.loads(said)
            calls[id_] = said = json.dumps([name, given], sort_keys=True)
        found[feature, said] += times
    for (feature, said), times in list(found.items()):
        if feature == "result":
            del found[feature, said]
            found[feature, calls.get(said, "of no call")] += times
    return found


def missing(wanted: Facts, arrived: Facts) -> Facts:
    """What did not arrive. An id may be another, as long as it leads to the same call."""
    exact = wanted - arrived
    if not any(feature in ("call", "result") for feature, _ in exact):
        return exact
    return unpaired(wanted) - unpaired(arrived)


def _speaks_of(line: str, features: Iterable[str]) -> bool:
    """Whether a line is about one of these facts."""
    named = {name for clause in explained(line) for name in clause}
    return any(
        fnmatchcase(one, name) or name.startswith(f"{one}.") for one in features for name in named
    )


def word_of(
    wanted: Facts, gone: Facts, new: Iterable[str], usual: Iterable[str], *, verbatim: bool
) -> Cell:
    """The word for what is gone of what was wanted.

    Lines that a plain request has too (`usual`) count where they speak of what is gone. What is
    gone in part is translated, as long as a line says so.
    """
    features = {feature for feature, _ in gone or wanted}
    new = tuple(new)
    told = [*new, *(line for line in usual if gone and _speaks_of(line, features))]
    about = [line for line in told if _speaks_of(line, features)]
    words = {verb(line) for line in about or told if gone or about}
    if not gone:
        done: Word = "kept" if verbatim else "translated"
        return Cell("emulated" if "emulated" in words else done, new)
    if "dropped with a line" in words and gone == wanted:
        return Cell("dropped with a line", tuple(told))
    if "emulated" in words:
        return Cell("emulated", tuple(told))
    if words - {None}:
        return Cell("translated", tuple(told))
    feature, said = sorted(gone)[0]
    return Cell("lost", new, f"{feature}: {said[:60]}")


def names_in(fields: Any) -> set[str]:
    """What an error can call a feature by: members, and types."""
    found: set[str] = set()
    if isinstance(fields, Mapping):
        found |= set(map(str, fields))
        found |= {str(fields[name]) for name in ("type", "name") if name in fields}
        for value in fields.values():
            found |= names_in(value)
    elif isinstance(fields, list):
        for value in fields:
            found |= names_in(value)
    return {name.lower().replace("_", " ") for name in found}


def is_named(message: str, fields: Any) -> bool:
    """Whether an error says which feature it is about."""
    words = message.lower().replace("_", " ")
    return any(re.search(rf"\b{re.escape(name)}\b", words) for name in names_in(fields))


def holds(whole: Any, value: Any) -> bool:
    """Whether a value stands somewhere in a body."""
    if whole == value:
        return True
    if isinstance(whole, Mapping):
        return any(holds(inner, value) for inner in whole.values())
    return isinstance(whole, list) and any(holds(inner, value) for inner in whole)


def new_lines(lines: list[str], before: list[str]) -> tuple[str, ...]:
    """The lines that a plain request does not have."""
    return tuple((Counter(lines) - Counter(before)).elements())
