"""Arguments in tags that are closed twice or not at all: never part of a value.

Source: ggml-org/llama.cpp#24807, Qwen3.6 with `</parameter>` twice.
"""

from __future__ import annotations

import pytest

from plugway_toolcalls import FAMILIES, OutputParser
from plugway_toolcalls._families import Family
from plugway_toolcalls._write import own_format
from plugway_toolcalls.testing import as_blocks

from .conftest import TOOLS

TAGGED = [family for family in FAMILIES if own_format(family).kind == "tags"]


def call(family: Family, *arguments: tuple[str, str, int]) -> str:
    """A call of `Bash`; each argument with its value and the number of its closing tags."""
    spec = own_format(family)
    shape = spec.shape
    assert shape is not None
    text = f"{spec.opening}{shape.before}Bash{shape.between}"
    for key, value, ends in arguments:
        text += shape.key.replace("{key}", key) + value
        text += shape.value_end.replace("{key}", key) * ends
    return text + shape.after


def read(family: Family, text: str, size: int):
    parser = OutputParser(family, TOOLS)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return as_blocks(parts + parser.finish())


@pytest.mark.parametrize("size", [1, 3, 10_000])
@pytest.mark.parametrize("family", TAGGED, ids=lambda family: family.name)
class TestTags:
    @pytest.mark.parametrize("ends", [2, 3])
    def test_a_tag_that_closes_again_is_not_part_of_the_value(self, family, ends, size):
        for text in (
            call(family, ("command", "ls", ends)),
            call(family, ("command", "ls", ends), ("timeout", "5", 1)),
            call(family, ("timeout", "5", 1), ("command", "ls", ends)),
        ):
            assert {kind for kind, *_ in read(family, text, size)} & {"call"} == set()

    def test_an_argument_is_not_part_of_the_one_before_that_is_not_closed(self, family, size):
        text = call(family, ("command", "ls", 0), ("timeout", "5", 1))
        assert {kind for kind, *_ in read(family, text, size)} & {"call"} == set()

    def test_tags_in_pairs_inside_a_value_are_text(self, family, size):
        shape = own_format(family).shape
        inner = shape.key.replace("{key}", "command") + "pwd"
        inner += shape.value_end.replace("{key}", "command").rstrip()
        found = read(family, call(family, ("command", f"echo {inner} x", 1)), size)
        assert found == [("call", "Bash", {"command": f"echo {inner} x"})]

    def test_a_closing_tag_before_more_of_the_value_is_text(self, family, size):
        end = own_format(family).shape.value_end.replace("{key}", "command").rstrip()
        found = read(family, call(family, ("command", f"echo {end} x", 1)), size)
        assert found == [("call", "Bash", {"command": f"echo {end} x"})]
