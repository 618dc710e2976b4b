"""However deep the arguments of a call are: data of a client or a model, not an error of ours."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plugway_toolcalls import FAMILIES, Family, OutputParser, Part, Tool, own_format, write_call
from plugway_toolcalls._write import MAX_LEVELS
from plugway_toolcalls.testing import as_blocks

TREE = {
    "type": ["array", "object"],
    "items": {"$ref": "#/$defs/tree"},
    "properties": {"a": {"$ref": "#/$defs/tree"}},
}
SCHEMA = {
    "type": "object",
    "properties": {"path": {"$ref": "#/$defs/tree"}},
    "$defs": {"tree": TREE},
}
TOOLS = [Tool("Read", schema=SCHEMA)]
LEVELS = st.lists(st.sampled_from("[{"), max_size=253)
MOST_SECONDS = 0.25


def nested(levels: Any) -> Any:
    value: Any = "x"
    for level in levels:
        value = [value] if level == "[" else {"a": value}
    return value


def read(family: Family, pieces: Iterable[str]) -> list[Part]:
    opening, closing = family.section
    parser = OutputParser(family, TOOLS)
    parts = [part for piece in (opening, *pieces, closing) for part in parser.feed(piece)]
    return parts + parser.finish()


@settings(max_examples=40, deadline=None)
@given(LEVELS)
@example(["["] * 61)
@example(["{"] * 253)
def test_arguments_as_deep_as_a_request_may_be_are_written_and_read_as_they_were(levels):
    arguments = {"path": nested(levels)}
    for family in FAMILIES:
        began = time.thread_time()
        text = write_call(family, "Read", arguments, SCHEMA)
        assert time.thread_time() - began < MOST_SECONDS, family.name
        found = as_blocks(read(family, [text]))
        if len(levels) >= MAX_LEVELS and own_format(family).kind == "python":
            assert found[0][0] in ("call", "error"), family.name
        else:
            assert found == [("call", "Read", arguments)], family.name


@pytest.mark.parametrize("levels", ["[" * 5000, "{" * 5000, "[{" * 50_000])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_arguments_that_no_request_has_are_refused_or_written(family, levels):
    began = time.thread_time()
    with contextlib.suppress(ValueError):
        write_call(family, "Read", {"path": nested(levels)}, SCHEMA)
    assert time.thread_time() - began < 4 * MOST_SECONDS


CALLS = {
    "in an object": '<tool_call>{"name": "Read", "arguments": {"path": %s}}</tool_call>',
    "in a text": '<tool_call>{"name": "Read", "arguments": %t}</tool_call>',
    "without a tool": "<tool_call>%s</tool_call>",
    "in a list": "[TOOL_CALLS]%s",
    "after a name": '[TOOL_CALLS]Read[ARGS]{"path": %s}',
    "in a tag": "<tool_call><function=Read><parameter=path>%s</parameter></function></tool_call>",
    "in Python": "[Read(path=%s)]",
    "in braces": "<|tool_call>call:Read{path:%s}<tool_call|>",
    "alone": '{"name": "Read", "parameters": %s}',
    "in a block of code": '```json\n{"name": "Read", "arguments": {"path": %s}}\n```',
    "without an end": '<tool_call>{"name": "Read", "arguments": {"path": %s',
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("levels", [900, 1000, 2000, pytest.param(10**5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
def test_what_a_model_nests_is_a_call_or_an_error_in_time(call, levels, opening):
    closing = "]" if opening == "[" else "}"
    deep = opening * levels + "1" + closing * levels
    text = call.replace("%s", deep).replace("%t", json.dumps(f'{{"path": {deep}}}'))
    for family in FAMILIES:
        for size in (16 * 1024, len(text)):
            longest = 0.0
            parser = OutputParser(family, TOOLS)
            for at in range(0, len(text), size):
                began = time.thread_time()
                parser.feed(text[at : at + size])
                longest = max(longest, time.thread_time() - began)
            began = time.thread_time()
            parser.finish()
            assert max(longest, time.thread_time() - began) < MOST_SECONDS, family.name
