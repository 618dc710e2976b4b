"""Whatever one writes the other reads: no argument is changed, cut short or dropped.

`python -m bench.round_trips` does the same for any number of calls.
"""

from __future__ import annotations

import pytest

from plugway_toolcalls import FAMILIES, Family
from plugway_toolcalls.testing import (
    Maker,
    is_word_for_word,
    parsed,
    raw_call,
    writes_raw,
    written,
)

RAW = [family for family in FAMILIES if writes_raw(family)]


def check_round_trips(family: Family, count: int) -> None:
    for seed in range(count):
        maker = Maker(family, seed)
        calls = maker.calls()
        text = written(family, calls)
        found = parsed(family, maker.cut(text))
        assert found == [("call", *call) for call in calls], (seed, text)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_call_that_is_written_is_read_as_it_was(family: Family):
    check_round_trips(family, 40)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_thousands_of_calls_that_are_written_are_read_as_they_were(family: Family):
    check_round_trips(family, 5000)


def check_raw(family: Family, count: int) -> None:
    for seed in range(count):
        maker = Maker(family, seed)
        given = maker.values_as_they_are()
        text = raw_call(family, given)
        found = parsed(family, maker.cut(text))
        is_same = found == [("call", "Write", given)]
        assert is_same or is_word_for_word(family, text, found), (seed, text, found)


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_marks_in_a_value_that_a_model_wrote_never_change_it(family: Family):
    check_raw(family, 80)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_marks_in_thousands_of_values_never_change_one(family: Family):
    check_raw(family, 3000)


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_a_whole_example_of_the_same_tool_in_a_value_stays_there(family: Family):
    example = raw_call(family, {"content": "a", "file_path": "/b"})
    for given in (
        {"content": f"Write so: {example}"},
        {"content": f"Write so: {example} It is easy.", "mode": "fast"},
        {"file_path": "/x", "content": f"{example}\n"},
    ):
        assert parsed(family, [raw_call(family, given)]) == [("call", "Write", given)]


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_an_example_that_is_not_closed_is_no_argument_of_the_call_around_it(family: Family):
    example = raw_call(family, {"content": "a", "file_path": "/b"})
    begun = example[: example.index("/b") + 2]
    text = raw_call(family, {"content": f"Write so: {begun}", "mode": "fast"})
    found = parsed(family, [text])
    said = {"content": f"Write so: {begun}", "mode": "fast"}
    assert found == [("call", "Write", said)] or not any(block[0] == "call" for block in found)


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_a_call_around_examples_of_which_one_is_not_closed_is_never_shortened(family: Family):
    example = raw_call(family, {"content": "a"})
    begun = raw_call(family, {"content": "|"}).partition("|")[0]
    given = {"content": f"{example} and {example} and {begun}b"}
    found = parsed(family, [raw_call(family, given)])
    calls = [block for block in found if block[0] == "call"]
    assert not calls or found == [("call", "Write", given)]
