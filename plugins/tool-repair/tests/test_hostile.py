"""Texts that are made to cost much: the work grows as the text does, and memory has a limit."""

from __future__ import annotations

import random
import sys
from collections import Counter

import pytest

from plugway import BackendProtocolError, event
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._repairer import Repairer
from plugway_tool_repair._tools import Verdict
from plugway_toolcalls import FAMILIES, OutputParser, Tool, write_call
from plugway_toolcalls.marks import ALL
from tests.slow import seeds, share

from .conftest import TOOLBOX, pieces_of

BEGUN = [
    '<tool_call>{"name": "Bash", ',
    '<tool_call>{"name": "Bash", "arguments": {"command": "',
    "<tool_call>Bash<arg_key>",
    "<function=Bash><parameter=command>",
    "[TOOL_CALLS]Bash[ARGS]{",
    "<|tool_call>call:Bash{command:",
    '{"name": "Bash", "arguments": {',
    "<|channel|>commentary to=Bash",
    '```json\n{"name": "Bash", ',
]
RUNS = [*"{}[]()<>`'\"\\ \n:,x|", '\\"', "<|", "{}", "/*", "</", *BEGUN]
TEXTS = sorted({*RUNS, *ALL, *(mark[:-1] for mark in ALL if len(mark) > 1)})


def calls_made(function):
    """How many functions were called, C's included."""
    made = 0

    def count(_frame, kind, _arg):
        nonlocal made
        made += kind in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return made


def read(text, size):
    prose = Prose(TOOLBOX, Counter())
    for at in range(0, len(text), size):
        prose.feed(text[at : at + size])
        assert len(prose._buffer) <= 3 * 4096
    prose.finish(cut=True)


@pytest.mark.parametrize("size", [1, 65_536], ids=["a character each", "in one piece"])
@pytest.mark.parametrize("begun", ["", *BEGUN])
def test_twice_the_text_is_twice_the_work(begun, size):
    length = 1000 if size == 1 else 5_000
    runs = RUNS if begun or size == 1 else TEXTS
    for run in share(runs, BEGUN.index(begun) if begun else 0, 4):
        once = begun + run * (length // len(run))
        twice = begun + run * (2 * length // len(run))
        work = calls_made(lambda text=once: read(text, size))
        assert calls_made(lambda text=twice: read(text, size)) < 2.5 * work + 20_000, run


@pytest.mark.parametrize(
    "beside", ["", " x ", "\nx\n", "`"], ids=["alone", "text", "lines", "ticks"]
)
def test_marks_and_code_cost_a_few_steps_each(beside):
    marks = [*ALL, "```\nx\n", "~~~\n", "> ```\n> x\n", "<s>`"]
    for run in share(marks, len(beside), 16):
        one = run + beside
        texts = ["Hello. " + one * count for count in (200, 600)]  # 200 are enough for every limit
        few, many = (calls_made(lambda text=text: read(text, 16_384)) for text in texts)
        assert many - few <= 400 * 32, run


CODE = {
    "fences": "```\nx\n```\n",
    "longer fences": "````\n```\nx\n````\n",
    "indented fences": "  ```\n  x\n  ```\n",
    "fences in lists": "- ```\n  x\n  ```\n",
    "quoted fences": "> ```\n> x\n> ```\n",
    "quoted fences that their quote ends": "> ```\n> x\ntext\n",
    "spans over lines": "`a\nb` ",
    "spans that their paragraph ends": "`a\nb\n\n",
    "spans that a fence ends": "`a\n```\nx\n```\n",
    "unequal runs": "`a`` ",
    "unequal runs at the beginning of lines": "```a``b`\n",
    "longer unequal runs": "`a``b```c````d",
}


@pytest.mark.parametrize("kind", CODE)
def test_code_that_ends_in_the_same_piece_of_text_is_skipped_at_once(kind):
    texts = ["Hello.\n" + CODE[kind] * count for count in (400, 4000)]
    few, many = (calls_made(lambda text=text: read(text, 16_384)) for text in texts)
    assert many - few <= 3600  # read one by one, each costs ten or more


LEAK = "<|im_end|>"
SIGNS = [
    "`",
    "``",
    "```",
    "````",
    "~~~",
    "~~~~",
    "\n",
    "\n\n",
    "\r",
    ">",
    "> ",
    "-",
    "- ",
    "1.",
    "1. ",
]
SIGNS += ["  ", "x", LEAK]


@pytest.mark.parametrize("seed", seeds(300, 20_000))
def test_code_is_the_same_whether_it_is_skipped_at_once_or_read_by_character(seed):
    chance = random.Random(seed)
    signs = [*chance.sample(SIGNS, chance.choice([3, 6, len(SIGNS)])), LEAK]
    text = "".join(chance.choices(signs, k=chance.randint(1, 60)))
    assert pieces_of(text) == pieces_of(text, 1)  # leaks stay in code


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_twice_the_text_is_twice_the_work_for_the_parser_of_a_family(family):
    def parse(text):
        parser = OutputParser(family, [Tool("Bash")])
        parser.feed(text)
        parser.finish()

    for run in share(RUNS, FAMILIES.index(family), 4):
        once, twice = run * (5_000 // len(run)), run * (10_000 // len(run))
        work = calls_made(lambda text=once: parse(text))
        assert calls_made(lambda text=twice: parse(text)) < 2.5 * work + 5_000, run


@pytest.mark.parametrize("kind", ["text", "arguments"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_piece_of_a_few_characters_costs_a_few_steps_however_much_precedes_it(family, kind):
    def steps(length):
        said = ("Hello <b>, [you] and `me`, if x = {'y': 1}.\n" * (length // 40))[:length]
        if kind == "arguments":
            arguments = {"file_path": "/a", "content": said}
            said = write_call(family, "Write", arguments, TOOLBOX.tools["Write"].schema)
            said = said.join(family.section)
        chance, at = random.Random(length), 0
        parser, pieces = OutputParser(family, [Tool("Write")]), list[str]()
        while at < len(said):
            pieces.append(said[at : at + chance.randint(1, 5)])
            at += len(pieces[-1])
        made = calls_made(lambda: [parser.feed(piece) for piece in pieces])
        parser.finish()
        assert parser.calls == (kind == "arguments")
        return made / len(pieces)

    few, many = steps(2_000), steps(20_000)
    assert many < 1.25 * few + 1, (few, many)
    assert many < 40


def repairer():
    return Repairer(TOOLBOX, lambda _: None, rescue=True, leaks=True, model="m")


def begun(index=0):
    block = {"type": "tool_use", "id": f"t{index}", "name": "Bash", "input": {}}
    return event("content_block_start", index=index, content_block=block)


def piece(text, index=0):
    delta = {"type": "input_json_delta", "partial_json": text}
    return event("content_block_delta", index=index, delta=delta)


def test_arguments_without_end_are_cut_off():
    reader = repairer()
    reader.feed(begun())
    with pytest.raises(BackendProtocolError, match=r"arguments of a tool call .* 8388608"):
        for _ in range(9000):
            reader.feed(piece("x" * 1000))


def test_a_call_in_text_without_end_is_cut_off():
    prose = Prose(TOOLBOX, None)
    prose.feed('<tool_call>{"name": "Bash", "arguments": {"command": "')
    with pytest.raises(BackendProtocolError, match=r"written as text .* 262144"):
        for _ in range(9000):
            prose.feed("x" * 1000)


def test_blocks_that_are_opened_without_end_are_cut_off():
    reader = repairer()
    with pytest.raises(BackendProtocolError, match="100 blocks are open at once"):
        for index in range(200):
            reader.feed(begun(index))


def test_events_of_a_call_in_very_many_pieces_are_not_kept():
    reader = repairer()
    reader.feed(begun())
    reader.feed(piece('{"command": "'))
    for _ in range(5000):
        reader.feed(piece("x"))
    assert not reader._blocks[0].events
    reader.feed(piece('"}'))
    out = reader.feed(event("content_block_stop", index=0))
    deltas = [item.data["delta"]["partial_json"] for item in out if "delta" in item.data]
    assert deltas == ['{"command": "' + "x" * 5000 + '"}']


@pytest.mark.parametrize("levels", [100, 300, 2000])
def test_deep_arguments_are_known_again(levels):
    deep = '{"edits": ' + "[" * levels + "]" * levels + "}"
    assert Verdict("Edit", deep).key == Verdict("Edit", deep).key
    assert Verdict("Edit", deep).key != Verdict("Edit", "{}").key
