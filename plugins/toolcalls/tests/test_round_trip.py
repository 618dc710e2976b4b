"""Whatever one writes the other reads: no argument is changed, cut short or dropped.

Values hold what is most likely to be taken for something else: every family's own marks, whole
example calls, calls cut in the middle, code, quotes.
"""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest

from plugway_toolcalls import FAMILIES, Family, OutputParser, Tool, own_format, write_call
from plugway_toolcalls.testing import as_blocks

SCHEMA = {
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
OPEN = {"type": "object"}
TOOLS = (Tool("Write", "", SCHEMA), Tool("Read", "", OPEN), Tool("do_it", "", OPEN))
BY_NAME = {tool.name: tool for tool in TOOLS}
WORDS = [
    "x",
    " ",
    "\n",
    "\n\n",
    "a < b",
    "5",
    "true",
    "null",
    "None",
    "é",
    "日本",
    "```",
    "```json\n",
]
WORDS += [
    '"',
    "'",
    "\\",
    "\\n",
    "{",
    "}",
    "[",
    "]",
    "</",
    "<",
    ">",
    "<|",
    "|>",
    ",",
    ":",
    "\t",
    "--",
]
WORDS += ['{"name": "Read", "arguments": {}}', "print(1)", "def f():\n    return {}\n", "&lt;"]


def marks_of(family: Family) -> list[str]:
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
    return [mark for mark in dict.fromkeys(found) if mark]


class Maker:
    """Random calls whose values are made of a family's marks."""

    def __init__(self, family: Family, seed: int) -> None:
        self.random = random.Random(f"{family.name} {seed}")
        self.family = family
        self.marks = marks_of(family)

    def text(self) -> str:
        pieces = []
        for _ in range(self.random.choice([0, 1, 1, 2, 3, 5, 8])):
            piece = self.random.choice(self.marks if self.random.random() < 0.6 else WORDS)
            if self.random.random() < 0.15:
                piece = piece[self.random.randrange(len(piece)) :]
            elif self.random.random() < 0.15:
                piece = piece[: self.random.randrange(len(piece))]
            pieces.append(piece)
        return "".join(pieces)

    def value(self, depth: int = 0):
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

    def call(self):
        if self.random.random() < 0.3:
            return self.random.choice(["Read", "do_it"]), {
                name: self.value()
                for name in self.random.sample(["a", "content", "p_q", "with space", "z"], 2)
            }
        made = {
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
        if self.random.random() < 0.2:
            return list(text)
        cuts = [self.random.randrange(len(text) + 1) for _ in range(self.random.randrange(6))]
        return [text[a:b] for a, b in pairwise(sorted({0, len(text), *cuts}))]


def read(family: Family, pieces: list[str]):
    parser = OutputParser(family, TOOLS)
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return as_blocks(parts + parser.finish())


def written(family: Family, calls) -> str:
    opening, closing = family.section
    texts = [write_call(family, name, given, BY_NAME[name].schema) for name, given in calls]
    return opening + family.separator.join(texts) + closing


def check_round_trips(family: Family, count: int) -> None:
    for seed in range(count):
        maker = Maker(family, seed)
        calls = [maker.call() for _ in range(maker.random.choice([1, 1, 1, 2, 3]))]
        text = written(family, calls)
        found = read(family, maker.cut(text))
        assert found == [("call", *call) for call in calls], (seed, text)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_call_that_is_written_is_read_as_it_was(family: Family):
    check_round_trips(family, 40)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_thousands_of_calls_that_are_written_are_read_as_they_were(family: Family):
    check_round_trips(family, 5000)


RAW = [f for f in FAMILIES if own_format(f).kind in {"tags", "braces"}]
"""Families whose models write values as they are, whatever stands in them."""


def raw_call(family: Family, given: dict[str, str]) -> str:
    """As a model writes it by its template, which escapes nothing."""
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


def check_raw(family: Family, count: int) -> None:
    for seed in range(count):
        maker = Maker(family, seed)
        given = {"content": maker.text()}
        if maker.random.random() < 0.5:
            given = {"file_path": "/x", **given}
        if maker.random.random() < 0.3:
            given["mode"] = "fast"
        text = raw_call(family, given)
        found = read(family, maker.cut(text))
        if found == [("call", "Write", given)]:
            continue
        # All else is there, too, and only what is word for word the same may be taken for calls.
        rest = squeezed(text, family)
        for block in found:
            forms = (squeezed(form, family) for form in said(family, block))
            form = next((form for form in forms if rest.startswith(form)), None)
            assert form is not None, (seed, text, found)
            rest = rest[len(form) :]
        assert not rest, (seed, text, found)


def said(family: Family, block) -> list[str]:
    """The texts that a block of the reply may have been."""
    if block[0] != "call":
        return [block[1]]
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in block[2].items()}
    raw = raw_call(family, values).replace("Write", block[1], 1)
    whole = json.dumps({"name": block[1], "arguments": block[2]}, ensure_ascii=False)
    openings = [spec.opening for spec in family.calls if spec.kind == "object"]
    typed = {' string="true"', ' string="false"', ""}
    raws = [raw.replace(' string="true"', mark) for mark in typed]
    return [*raws, *(opening + whole for opening in openings)]


def squeezed(text: str, family: Family) -> str:
    """Without white space, and the marks that say nothing."""
    marks = [*family.noise, *family.stops, *family.section]
    marks += [mark for spec in family.calls for mark in (*spec.outers, spec.closing)]
    marks += [mark for pair in family.reasoning for mark in pair]
    known = sorted({squeeze(mark) for mark in marks} - {""}, key=len, reverse=True)
    before, text = "", squeeze(text)
    while before != text:
        before = text
        for mark in known:
            text = text.replace(mark, "")
    return text


def squeeze(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_marks_in_a_value_that_a_model_wrote_never_change_it(family: Family):
    check_raw(family, 80)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_marks_in_thousands_of_values_never_change_one(family: Family):
    check_raw(family, 3000)
