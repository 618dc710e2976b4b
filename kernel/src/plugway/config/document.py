"""Parses YAML into plain values, with the line and column of each.

It does not know what the values mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, cast

import yaml

from plugway.types.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
"""Largest configuration file."""
MAX_VALUES = 100_000
"""Most values in one configuration; those of an alias count at each use."""
MAX_DEPTH = 50
"""Most levels of nesting."""

Place = tuple[str | int, ...]
"""Keys and indexes from the root to a value."""

# the stubs leave the function untyped
_parse = cast("Callable[..., Iterator[yaml.Event]]", yaml.parse)  # pyright: ignore[reportUnknownMemberType]
_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, object] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_HINTS: Mapping[str, str] = {
    "mapping values are not allowed": "quote a value that contains `: `",
    "cannot start any token": "quote a value that starts with this character",
    "found undefined alias": "quote a value that starts with `*`",
    "did not find expected key": "check the indentation of this line and of the one before",
    "block end": "check the indentation of this line and of the one before",
}


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file: its value and the position of each part."""

    where: str
    """Name of the file in messages."""
    value: object = field(default=None, repr=False)
    folder: Path | None = None
    """Folder of the file, if any; relative paths in the file start here."""
    marks: Mapping[Place, tuple[int, int]] = field(
        default_factory=dict[Place, tuple[int, int]], repr=False
    )

    def position(self, path: Sequence[str | int]) -> str:
        """`file:line:column` of the value at `path`, or of the nearest value around it."""
        place = tuple(path)
        while place and place not in self.marks:
            place = place[:-1]
        if place not in self.marks:
            return self.where
        line, column = self.marks[place]
        return f"{self.where}:{line}:{column}"

    def problem(self, path: Sequence[str | int], reason: str, fix: str = "") -> Problem:
        """A problem with the value at `path`."""
        return Problem(self.position(path), dotted(path), reason, fix)


def dotted(path: Sequence[str | int]) -> str:
    """A path as text: `plugins[2].options.api_key`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Problems sorted by position; those of the whole file come first."""

    def place(problem: Problem) -> tuple[str, list[int]]:
        numbers = re.search(r"(:\d+)*$", problem.where)
        assert numbers is not None
        tail = numbers.group()
        return problem.where.removesuffix(tail), [int(part) for part in tail.split(":")[1:]]

    return sorted(problems, key=place)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A suggestion from `known`, or an empty string."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean `{close[0]}`?" if close else ""


def read_document(text: str, where: str, folder: Path | None = None) -> Document:
    """Parse one YAML document; tags, merge keys and repeated keys are errors."""
    text = text.removeprefix("\ufeff")
    _refuse_unreadable(text, where)
    reader = _Reader(text, where)
    try:
        value = reader.read()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([*reader.problems, _syntax_problem(error, text, where)]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(where, "", f"not valid YAML: {error}")]) from None
    if reader.problems:
        raise ConfigError(reader.problems)
    return Document(where, value, folder, reader.marks)


def _refuse_unreadable(text: str, where: str) -> None:
    if len(text) > MAX_BYTES:
        raise ConfigError([Problem(where, "", "larger than 1 MiB", "is it the right file?")])
    if bad := _UNPRINTABLE.search(text):
        before = text[: bad.start()]
        column = len(before) - before.rfind("\n")
        place = f"{where}:{before.count(chr(10)) + 1}:{column}"
        code = f"U+{ord(bad.group()):04X}"
        raise ConfigError([Problem(place, "", f"control character {code}", "remove it")])


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, where: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(where, "", f"not valid YAML: {error.problem}")
    place = f"{where}:{mark.line + 1}:{mark.column + 1}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        reason = "a tab is used for indentation, which YAML does not allow"
        return Problem(place, "", reason, "indent with spaces")
    detail = " ".join(part for part in (error.context, error.problem) if part)
    fix = next((hint for words, hint in _HINTS.items() if words in detail), "")
    return Problem(place, "", f"not valid YAML: {detail}", fix)


class _Reader:
    """Builds values from parser events, with limits that small malicious inputs cannot evade."""

    def __init__(self, text: str, where: str) -> None:
        self.where = where
        self.problems: list[Problem] = []
        self.marks: dict[Place, tuple[int, int]] = {}
        self._events: Iterator[yaml.Event] = _parse(text, Loader=_LOADER)
        self._anchors: dict[str, tuple[object, int]] = {}
        self._count = 0

    def read(self) -> object:
        """The value of the only document; None for an empty text."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._fail(after, (), "a second document starts here", "keep one `---` part")
        return value

    def _value(self, event: yaml.Event, path: Place) -> object:
        self.marks.setdefault(path, _at(event))
        self._spend(1, event, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag is not None:
            reason = f"the tag `{event.tag}` is not accepted"
            self.problems.append(self._problem(event, path, reason, "write plain values"))
        before = self._count
        value = self._content(event, path)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _content(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, path: Place) -> object:
        if isinstance(event, yaml.ScalarEvent):
            plain: bool = event.implicit[0]
            return _scalar(event.value) if plain else event.value
        if len(path) >= MAX_DEPTH:
            self._fail(event, path[:4], f"nested deeper than {MAX_DEPTH} levels", "")
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._mapping(path)

    def _sequence(self, path: Place) -> list[object]:
        values: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: Place) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._fail(event, path, "a key must be a plain word", "quote it")
            key = str(event.value)
            place = (*path, key)
            if key == "<<" and event.implicit[0]:
                reason = "merge keys (`<<`) are not supported"
                self.problems.append(self._problem(event, place, reason, "write the keys out"))
            if key in values:
                first = self.marks[place][0]
                reason = f"given twice, first in line {first}"
                self.problems.append(self._problem(event, place, reason, "keep one of them"))
            self.marks.setdefault(place, _at(event))
            values[key] = self._value(next(self._events), place)
        return values

    def _alias(self, event: yaml.AliasEvent, path: Place) -> object:
        if event.anchor not in self._anchors:
            fix = "quote a value that starts with `*`"
            self._fail(event, path, f"the alias `*{event.anchor}` is not defined yet", fix)
        value, size = self._anchors[event.anchor]
        self._spend(size, event, path)
        return value

    def _spend(self, size: int, event: yaml.Event, path: Place) -> None:
        self._count += size
        if self._count > MAX_VALUES:
            self._fail(event, path[:4], f"more than {MAX_VALUES:,} values, aliases included", "")

    def _problem(self, event: yaml.Event, path: Place, reason: str, fix: str) -> Problem:
        line, column = _at(event)
        return Problem(f"{self.where}:{line}:{column}", dotted(path), reason, fix)

    def _fail(self, event: yaml.Event, path: Place, reason: str, fix: str) -> NoReturn:
        raise ConfigError([*self.problems, self._problem(event, path, reason, fix)])


def _at(event: yaml.Event) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _scalar(text: str) -> object:
    """A plain scalar by the core schema of YAML 1.2: `no`, `12:30` and dates are text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text
