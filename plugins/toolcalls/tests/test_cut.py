"""A reply that was cut off never gives a call with a shortened argument."""

from __future__ import annotations

import random

import pytest

from plugway_toolcalls import Family, OutputParser, own_format
from plugway_toolcalls.testing import TOOLS, as_blocks, marks_of, raw_call, said, squeezed
from tests.slow import seeds

from .test_round_trip import RAW


def read_cut(family: Family, text: str):
    parser = OutputParser(family, TOOLS)
    return as_blocks([*parser.feed(text), *parser.finish(cut=True)])


def is_safe(family: Family, text: str, given: dict[str, str]) -> bool:
    """Whether all calls are the one that was written, or the text is a whole reply by itself."""
    found = read_cut(family, text)
    calls = [block for block in found if block[0] == "call"]
    if not calls or found == [("call", "Write", given)]:
        return True
    rest = squeezed(text, family)
    for block in found:
        forms = (squeezed(form, family) for form in said(family, block))
        form = next((form for form in forms if rest.startswith(form)), None)
        unknown = block[0] == "error" and block[1].endswith(own_format(family).closing)
        if form is None or not (block[0] == "call" or unknown):
            return False
        rest = rest[len(form) :]
    return not rest


def closing_tags(family: Family) -> list[str]:
    spec, (_, section_end) = own_format(family), family.section
    shape = spec.shape
    assert shape is not None
    ends = [spec.closing, *spec.outers, shape.after, section_end]
    ends += [end.replace("{key}", "content") for end in (spec.parameter_end, shape.value_end)]
    ends += [ends[-1] + shape.after, spec.quote + "}" + shape.after]
    return [end for end in ends if end]


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_a_cut_at_any_place_gives_no_shortened_argument(family: Family):
    maker = random.Random(family.name)
    ends, marks = closing_tags(family), marks_of(family)
    for _ in seeds(4, 12):
        words = ["Ends: ", "\n", " and more", *maker.choices(marks, k=2), *ends]
        content = "".join(maker.choices(words, k=maker.randint(1, 4)))[:300]
        given = {"content": content}
        if maker.random() < 0.5:
            given["file_path"] = "/x"
        text = raw_call(family, given)
        wrong = [at for at in range(len(text) + 1) if not is_safe(family, text[:at], given)]
        assert not wrong, (text[: wrong[0]], read_cut(family, text[: wrong[0]]))


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_a_call_inside_of_a_value_that_is_cut_ends_no_call(family: Family):
    inner = raw_call(family, {"content": "a"}).replace("Write", "Read", 1)
    text = raw_call(family, {"content": f"Use {inner} to read."})
    begin, end = text.index(inner) + len(inner), text.index(" to read.")
    for at in range(begin - len(inner), end + len(" to read.")):
        assert "call" not in {block[0] for block in read_cut(family, text[:at])}, text[:at]


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_a_whole_call_at_the_end_of_a_reply_that_was_cut_is_one(family: Family):
    text = raw_call(family, {"content": "a"})
    assert read_cut(family, text) == [("call", "Write", {"content": "a"})]
