"""What stands before and around the arguments of a call: the tool's name, and a list.

Sources: ggml-org/llama.cpp#24658 (Kimi K2.7 writes `functions_NAME_INDEX`), ollama/ollama#17638
(gpt-oss writes its arguments as a list with one object).
"""

from __future__ import annotations

import json

import pytest

from plugway_toolcalls import FAMILIES, OutputParser, Tool, known_name
from plugway_toolcalls._families import Family
from plugway_toolcalls._write import own_format
from plugway_toolcalls.testing import as_blocks

from .conftest import TOOLS

HEADED = [family for family in FAMILIES if own_format(family).kind in {"arguments", "object"}]


def read(family: Family, text: str, size: int, tools=TOOLS):
    parser = OutputParser(family, tools)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return as_blocks(parts + parser.finish())


def call(family: Family, value: object) -> str:
    spec = own_format(family)
    shape = spec.shape
    assert shape is not None
    return f"{spec.opening}{shape.before}Bash{shape.between}{json.dumps(value)}{shape.after}"


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("family", HEADED, ids=lambda family: family.name)
class TestList:
    def test_a_list_with_one_object_is_that_object(self, family, size):
        if family.name == "apertus":
            pytest.skip("it has the name and the arguments in one member")
        text = call(family, [{"command": "ls"}])
        assert read(family, text, size) == [("call", "Bash", {"command": "ls"})]

    @pytest.mark.parametrize(
        "value", [[{"command": "ls"}, {"command": "pwd"}], [], [1], [[]]], ids=str
    )
    def test_another_list_is_not_a_call(self, family, value, size):
        found = read(family, call(family, value), size)
        assert "call" not in {kind for kind, *_ in found}


NAMES = {
    "functions.Bash:0": "Bash",
    "functions_Bash_2": "Bash",
    "functions_mcp__fs__list_3": "mcp__fs__list",
    "functions_read_2_0": "read_2",
    "functions.read_2": "read_2",
    "functions_read_7": "read",
    "Bash_0": None,
    "functions_Fly_0": None,
    "functions_Bash": None,
}


@pytest.mark.parametrize(("written", "meant"), NAMES.items())
def test_a_name_with_namespace_and_index_is_the_name_between_them(written, meant):
    assert known_name(written, {"Bash", "mcp__fs__list", "read", "read_2"}) == meant


def test_a_tool_that_is_called_so_is_meant_itself():
    assert known_name("functions_Bash_2", {"Bash", "functions_Bash_2"}) == "functions_Bash_2"


@pytest.mark.parametrize("size", [1, 10_000])
def test_calls_of_kimi_with_underscores_are_read(size):
    kimi = next(family for family in FAMILIES if family.name == "kimi")
    tools = [Tool(name, schema=TOOLS[1].schema) for name in ("Bash", "mcp__fs__list")]
    calls = [
        f'<|tool_call_begin|>functions_{name}_{index}<|tool_call_argument_begin|>{{"command": "a"}}'
        "<|tool_call_end|>"
        for index, name in enumerate(("Bash", "mcp__fs__list"))
    ]
    text = f"<|tool_calls_section_begin|>{''.join(calls)}<|tool_calls_section_end|>"
    assert [block[1] for block in read(kimi, text, size, tools)] == ["Bash", "mcp__fs__list"]
