"""The arguments of a call can be sent, whatever a model wrote: JSON that every parser takes, as UTF-8."""

from __future__ import annotations

import json

import orjson
import pytest

from plugway_toolcalls import (
    FAMILIES,
    CallArguments,
    NotJson,
    OutputParser,
    Tool,
    dumps,
    load,
    merged,
    own_format,
)

TOOLS = [Tool("Read", "", {"type": "object"}), Tool("ReadFile", "", {"type": "object"})]
WRITTEN = {
    "half of a pair": r'{"zq": "\ud83d"}',
    "halves in the wrong order": r'{"zq": "\ude00x\ud83d"}',
    "a pair": r'{"zq": "\ud83d\ude00"}',
    "half of a pair in a name": r'{"zq\ud83d": 1}',
    "NaN": '{"zq": NaN}',
    "infinity": '{"zq": [-Infinity]}',
    "too large": '{"zq": 1e999}',
    "many digits": '{"zq": ' + "9" * 5000 + "}",
    "a large exponent": '{"zq": 1e' + "9" * 50 + "}",
    "too deep": '{"zq": ' + "[" * 3000 + "]" * 3000 + "}",
    "a name twice": '{"zq": 1, "zq": 2}',
    "a line break": '{"zq": "a\nb"}',
    "no character": r'{"zq": "\u0000"}',
    "words of Python": '{"zq": True, "b": None}',
    "nothing": "",
    "null": "null",
    "a list": "[1]",
    "a text": '"x"',
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_arguments_are_an_object_that_every_parser_takes(family, kind):
    spec, found = own_format(family), []
    assert spec.shape is not None
    text = f"{spec.opening}{spec.shape.before}Read{spec.shape.between}{WRITTEN[kind]}"
    text = (text + spec.shape.after).join(family.section)
    for size in (len(text), 3):
        parser = OutputParser(family, TOOLS)
        parts = [p for at in range(0, len(text), size) for p in parser.feed(text[at : at + size])]
        found.append(merged(parts + parser.finish()))
    assert found[0] == found[1]
    for part in found[0]:
        if isinstance(part, CallArguments):
            assert isinstance(orjson.loads(part.fragment.encode()), dict)


def test_half_of_a_surrogate_pair_is_replaced_and_a_pair_is_kept():
    assert dumps({"a": "x\ud83dy", "b": "\ud83d\ude00"}) == '{"a": "x\ufffdy", "b": "😀"}'
    assert json.loads(dumps(["é", "\ude00"])) == ["é", "\ufffd"]


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', "[Infinity]", "[-Infinity,]", "{'a': 1e999,}", "[" + "9" * 5000 + "]"]
)
def test_numbers_that_json_does_not_have_are_not_read(text):
    with pytest.raises(NotJson):
        load(text)
