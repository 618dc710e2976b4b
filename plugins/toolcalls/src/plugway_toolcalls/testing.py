"""Helpers for tests of reply parsers: parts that can be compared, and calls that are hard to read.

A `Maker` makes calls whose values hold what is most likely to be taken for something else: every
mark of a family, whole example calls, calls cut in the middle, code, quotes.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from plugway_toolcalls._families import Family
from plugway_toolcalls._output import OutputParser
from plugway_toolcalls._parts import (
    CallArguments,
    CallError,
    CallStart,
    Part,
    TextDelta,
    ThinkingDelta,
    merged,
)
from plugway_toolcalls._tokens import CDATA, CDATA_END
from plugway_toolcalls._tools import Tool
from plugway_toolcalls._write import own_format, write_call

Blocks = list[tuple[Any, ...]]
MadeCall = tuple[str, dict[str, Any]]
"""The name of a tool, and the arguments."""


def as_blocks(parts: Iterable[Part]) -> Blocks:
    """The parts of a reply: `("text", ...)`, `("thinking", ...)`, `("error", ...)`, and for a call
    `("call", name, arguments)`."""
    found: Blocks = []
    name = ""
    for part in merged(parts):
        match part:
            case TextDelta(text):
                found.append(("text", text))
            case ThinkingDelta(text):
                found.append(("thinking", text))
            case CallStart(name):
                pass
            case CallArguments(fragment):
                found.append(("call", name, json.loads(fragment)))
            case CallError(text, _):
                found.append(("error", text))
            case _:
                pass
    return found


# Calls that are hard to read

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "file_path": {"type": "string"},
        "content": {"type": "string"},
        "mode": {"type": "string", "enum": ["fast", "slow"]},
        "count": {"type": "integer"},
        "flag": {"type": "boolean"},
        "ratio": {"type": "number"},
        "edits": {"type": "array", "items": {"type": "object"}},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
    },
    "required": ["content"],
    "additionalProperties": False,
}
_OPEN: Final = {"type": "object"}
TOOLS: Final = (Tool("Write", "", SCHEMA), Tool("Read", "", _OPEN), Tool("do_it", "", _OPEN))
"""The tools that the calls of a `Maker` name."""
_BY_NAME: Final = {tool.name: tool for tool in TOOLS}
_WORDS: Final = (
    *("x", " ", "\n", "\n\n", "\t", "a < b", "5", "true", "null", "None", "é", "日本", "--"),
    *('"', "'", "\\", "\\n", "{", "}", "[", "]", "</", "<", ">", "<|", "|>", ",", ":", "&lt;"),
    *("```", "```json\n", '{"name": "Read", "arguments": {}}', "print(1)"),
    "def f():\n    return {}\n",
)


@lru_cache
def marks_of(family: Family) -> tuple[str, ...]:
    """All that means something in the family's format, with whole calls and its samples."""
    found = [*family.section, *family.noise, *family.stops]
    found += [mark for pair in family.reasoning for mark in pair]
    for spec in family.calls:
        found += [spec.opening, spec.closing, *spec.outers, spec.parameter_end, spec.quote]
        if spec.shape is not None:
            shape = spec.shape
            found += [shape.before, shape.between, shape.after]
            for name in ("content", "file_path", "mode", "x"):
                texts = (shape.key, shape.typed, shape.value_end, f"{shape.value_end}{shape.after}")
                found += [text.replace("{key}", name) for text in texts]
            found += [f"{spec.opening}{shape.before}Read{shape.between}"]
            found += [f"{shape.quote}}}{shape.after}"]
            found += [f"{shape.quote},mode:{shape.quote}", f"{shape.quote},x:{shape.quote}"]
    found += [write_call(family, "Read", {"file_path": "/a"})]
    found += [write_call(family, "Write", {"content": "a", "file_path": "/b"})]
    found += [sample.text for sample in family.samples]
    return tuple(mark for mark in dict.fromkeys(found) if mark)


class Maker:
    """Random calls of `TOOLS` whose values are made of a family's marks; the same for a seed."""

    def __init__(self, family: Family, seed: int) -> None:
        self.random = random.Random(f"{family.name} {seed}")
        self._marks = marks_of(family)

    def text(self) -> str:
        """A text of words and marks, some of them cut."""
        pieces: list[str] = []
        for _ in range(self.random.choice([0, 1, 1, 2, 3, 5, 8])):
            piece = self.random.choice(self._marks if self.random.random() < 0.6 else _WORDS)
            if self.random.random() < 0.15:
                piece = piece[self.random.randrange(len(piece)) :]
            elif self.random.random() < 0.15:
                piece = piece[: self.random.randrange(len(piece))]
            pieces.append(piece)
        return "".join(pieces)

    def value(self, depth: int = 0) -> Any:
        """A value of any type."""
        kind = self.random.choice(["text", "text", "number", "word", "list", "object"])
        if kind == "number":
            return self.random.choice([0, -1, 5, 1.5, 1e-7, 10**15])
        if kind == "word":
            return self.random.choice([True, False, None])
        if kind == "text" or depth > 2:
            return self.text()
        items = range(self.random.randrange(3))
        if kind == "list":
            return [self.value(depth + 1) for _ in items]
        names = ["a", "key", "with space", "x-y", "a.b", "mode", "é", "a:b", "1"]
        return {self.random.choice(names): self.value(depth + 1) for _ in items}

    def calls(self) -> list[MadeCall]:
        """The calls of one reply."""
        return [self.call() for _ in range(self.random.choice([1, 1, 1, 2, 3]))]

    def call(self) -> MadeCall:
        """One call, with arguments that its schema allows."""
        if self.random.random() < 0.3:
            return self.random.choice(["Read", "do_it"]), {
                name: self.value()
                for name in self.random.sample(["a", "content", "p_q", "with space", "z"], 2)
            }
        made: dict[str, Any] = {
            "content": self.text(),
            "file_path": self.text(),
            "mode": self.random.choice(["fast", "slow"]),
            "count": self.random.randrange(-5, 500),
            "flag": self.random.random() < 0.5,
            "ratio": self.random.choice([0.5, 3, -1e-9]),
            "edits": [{"old": self.text(), "new": self.text()}],
            "either": self.random.choice(["5", 5, "null", None, self.text()]),
        }
        names = self.random.sample(list(made), self.random.randint(1, 5))
        return "Write", {name: made[name] for name in {"content": 0, **dict.fromkeys(names)}}

    def cut(self, text: str) -> list[str]:
        """The text in chunks, at random places; some texts as single characters."""
        if self.random.random() < 0.05:
            return list(text)
        cuts = [self.random.randrange(len(text) + 1) for _ in range(self.random.randrange(6))]
        return [text[a:b] for a, b in pairwise(sorted({0, len(text), *cuts}))]

    def values_as_they_are(self) -> dict[str, str]:
        """Arguments of `Write`, texts only, for `raw_call`."""
        given = {"content": self.text()}
        if self.random.random() < 0.5:
            given = {"file_path": "/x", **given}
        if self.random.random() < 0.3:
            given["mode"] = "fast"
        return given


def parsed(family: Family, chunks: Iterable[str]) -> Blocks:
    """What the family's parser makes of a reply that arrives in these chunks."""
    parser = OutputParser(family, TOOLS)
    parts = [part for chunk in chunks for part in parser.feed(chunk)]
    return as_blocks(parts + parser.finish())


def written(family: Family, calls: Sequence[MadeCall]) -> str:
    """The calls as `write_call` writes them, as one reply."""
    opening, closing = family.section
    texts = [write_call(family, name, given, _BY_NAME[name].schema) for name, given in calls]
    return opening + family.separator.join(texts) + closing


def writes_raw(family: Family) -> bool:
    """Whether the family's models write values as they are, whatever is in them."""
    return own_format(family).kind in {"tags", "braces"}


def raw_call(family: Family, given: dict[str, str]) -> str:
    """A call as a model writes it by its template, which escapes nothing."""
    spec = own_format(family)
    shape = spec.shape
    assert shape is not None
    if spec.kind == "tags":
        body = "".join(
            shape.key.replace("{key}", name) + value + shape.value_end.replace("{key}", name)
            for name, value in given.items()
        )
    else:
        pairs = (f"{name}:{shape.quote}{value}{shape.quote}" for name, value in given.items())
        body = "{" + ",".join(pairs) + "}"
    return f"{spec.opening}{shape.before}Write{shape.between}{body}{shape.after}"


def is_word_for_word(family: Family, text: str, found: Blocks) -> bool:
    """Whether the blocks together are the text of the reply: none of it is lost or changed, and
    only what is word for word a call is one."""
    rest = squeezed(text, family)
    for block in found:
        forms = (squeezed(form, family) for form in said(family, block))
        form = next((form for form in forms if rest.startswith(form)), None)
        if form is None:
            return False
        rest = rest[len(form) :]
    return not rest


def said(family: Family, block: tuple[Any, ...]) -> list[str]:
    """The texts that a block of the reply may have been."""
    if block[0] != "call":
        return [block[1]]
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in block[2].items()}
    spec, inner = own_format(family), json.dumps(block[2], ensure_ascii=False)
    shape = spec.shape
    assert shape is not None
    raw = raw_call(family, values)
    raws = [
        raw.replace(' string="true"', mark) for mark in (' string="true"', ' string="false"', "")
    ]
    raws += [raw_call(family, {k: f"{CDATA}{v}{CDATA_END}" for k, v in values.items()})]
    raws += [f"{spec.opening}{shape.before}Write{shape.between}{inner}{shape.after}"]
    named = [text.replace("Write", block[1], 1) for text in raws]
    openings = [spec.opening for spec in family.calls if spec.kind == "object"]
    whole = json.dumps({"name": block[1], "arguments": block[2]}, ensure_ascii=False)
    return [*named, *(opening + whole for opening in openings)]


def squeezed(text: str, family: Family) -> str:
    """Without white space, and without the headers and marks that say nothing."""
    if (header := family.header) is not None:
        begins = "|".join(map(re.escape, header.openings))
        text = re.sub(rf"(?:{begins})[^<>]{{0,100}}{re.escape(header.end)}", "", text)
    before, text = "", _squeeze(text)
    while before != text:
        before = text
        for mark in _silent(family):
            text = text.replace(mark, "")
    return text


@lru_cache
def _silent(family: Family) -> tuple[str, ...]:
    marks = [*family.noise, *family.stops, *family.section]
    marks += [mark for spec in family.calls for mark in (*spec.outers, spec.closing)]
    marks += [mark for pair in family.reasoning for mark in pair]
    return tuple(sorted({_squeeze(mark) for mark in marks} - {""}, key=len, reverse=True))


def _squeeze(text: str) -> str:
    return "".join(text.split())
