"""A reply is read once, however many calls it has: counted in characters, not in time."""

from __future__ import annotations

import random

import pytest

from plugway_toolcalls import OutputParser, Tool, _call_reader, _tokens, own_format
from plugway_toolcalls.testing import Maker, as_blocks, raw_call
from tests.slow import quick_first, seeds

from .test_round_trip import RAW

TOOLS = (Tool("Write", "", {"type": "object"}),)
BETWEEN = ["\n", "\nNow the next one.\n", "\n<b>"]


@pytest.fixture
def read(monkeypatch):
    """Characters that were read, by what reads them."""
    counts = {"tokens": 0, "calls": 0}
    found, is_readable = _tokens.Tokens.found, _call_reader.is_readable
    parse_calls = _call_reader.parse_calls

    def count_tokens(self, text, at):
        counts["tokens"] += len(text) - at
        return found(self, text, at)

    def count_readable(spec, text):
        counts["calls"] += len(text)
        return is_readable(spec, text)

    def count_parsed(spec, text, tools, name=""):
        counts["calls"] += len(text)
        return parse_calls(spec, text, tools, name)

    monkeypatch.setattr(_tokens.Tokens, "found", count_tokens)
    monkeypatch.setattr(_call_reader, "is_readable", count_readable)
    monkeypatch.setattr(_call_reader, "parse_calls", count_parsed)
    return counts


@pytest.mark.parametrize("between", BETWEEN, ids=["directly", "words", "a tag"])
@pytest.mark.parametrize("length", quick_first([60_000, 20_000, 200_000], 1))
@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_many_calls_that_follow_one_another_are_read_once(family, length, between, read):
    one = raw_call(family, {"file_path": "/a", "content": "x = 1\n" * 20})
    count = length // len(one)
    text = (one + between) * count
    parser = OutputParser(family, TOOLS)
    for at in range(0, len(text), 1000):
        parser.feed(text[at : at + 1000])
    parser.finish()
    assert parser.calls == count
    # Each call is read to be known and to be given; tokens are looked for in each of them, too.
    assert read["calls"] <= 3 * len(text)
    assert read["tokens"] <= 5 * len(text)


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_what_was_found_before_is_what_a_new_search_finds(family):
    spec = own_format(family)
    for seed in seeds(10, 30):
        maker = Maker(family, seed)
        pieces = [
            maker.text() if n % 2 else raw_call(family, {"content": maker.text()})
            for n in range(80)
        ]
        text, scan = "".join(pieces), _tokens.Scan(spec)
        begin = 0
        for end in sorted(maker.random.choices(range(1, len(text)), k=12)):
            end = max(begin, end - maker.random.choice([0, 0, 3000]))
            new = [item.token[:3] for item in _tokens.tokens_of(spec).found(text[begin:end], 0)]
            assert [token[:3] for token in scan.tokens(text[begin:end], 0, begin)] == new
            starts = [begin + token[1] for token in new] or [begin]
            begin = maker.random.choice([begin, *starts, maker.random.randrange(begin, end + 1)])


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_long_replies_mean_the_same_in_whatever_pieces_they_come(family):
    for seed in seeds(1, 4):
        maker, texts = Maker(family, seed), []
        while sum(map(len, texts)) < 150_000:
            texts += [
                raw_call(
                    family, {"content": maker.text() + "y" * random.Random(seed).choice([0, 900])}
                )
            ]
            texts += [maker.random.choice(BETWEEN)]
        text, found = "".join(texts), []
        for size in (len(text), 700, 37):
            parser = OutputParser(family, TOOLS)
            parts = [
                p for at in range(0, len(text), size) for p in parser.feed(text[at : at + size])
            ]
            found.append(as_blocks(parts + parser.finish()))
        assert found[0] == found[1] == found[2]
