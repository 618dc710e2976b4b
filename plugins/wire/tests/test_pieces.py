"""What is remembered of a conversation is what would be found in all of it."""

import re

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import MessagesRequest
from plugway_wire.pieces import PIECE_BYTES, Mark, Remembered, pieces

WORDS = " lorem {ipsum} dolor" * 60
ONE = Mark(b'"one_of_these"', b"two_of_these")
BLANK = Mark(re.compile(rb'"text"\s*:\s*""'))


def messages(count, *more):
    said = [{"role": "user", "content": f"{n}{WORDS}"} for n in range(count)]
    return [*said, *({"role": "user", "content": text} for text in more)]


def request(said, **fields):
    return MessagesRequest(orjson.dumps({"model": "m", **fields, "messages": said}))


@given(st.lists(st.text(st.sampled_from('{}"a\\é '), max_size=3000), max_size=12))
def test_pieces_are_the_text_and_begin_at_braces(texts):
    data = orjson.dumps([{"text": text} for text in texts])
    found = list(pieces(data))
    assert b"".join(found) == data
    assert all(piece.startswith(b"{") for piece in found[1:])
    assert all(len(piece) >= PIECE_BYTES for piece in found[:-1])


def test_only_the_end_of_a_text_that_grows_is_measured_again():
    measured = []
    known = Remembered(lambda piece: measured.append(piece) or len(piece))
    for count in range(40, 60):
        data = orjson.dumps(messages(count))
        assert sum(known.of(data)) == len(data)
        last, measured[:] = len(measured), []
    assert last <= 2
    known.of(orjson.dumps(messages(59, "other")))
    assert len(measured) <= 2


def test_results_that_were_not_used_for_long_are_forgotten():
    measured = []
    known = Remembered(measured.append)
    for number in range(20_000):
        known.of(b"%d" % number)
        known.of(b"always")
    assert measured.count(b"always") == 1
    known.of(b"1")
    assert measured.count(b"1") == 2


TEXTS = st.sampled_from(["", "one_of_these", "two_of_these", "x" * 5000, '{"text": ""}', WORDS])


@settings(max_examples=150)
@given(st.lists(TEXTS, max_size=8), st.integers(0, 12), TEXTS, st.booleans())
def test_a_mark_is_found_exactly_where_its_bytes_are(texts, before, system, changes):
    made = request(messages(before, *texts), system=system)
    if changes:
        made = made.replace(because="t", messages=messages(before, *reversed(texts)))
    for mark in (ONE, BLANK):
        for name in ("messages", "system"):
            wanted = mark.is_in(orjson.dumps(made.get(name)))
            assert made.unparsed(name) is not None or mark.may_be_in(made, name) >= wanted
            assert made.unparsed(name) is None or mark.may_be_in(made, name) == wanted
    assert not ONE.may_be_in(made, "nothing")


def test_a_mark_that_is_made_later_is_found_in_what_was_looked_at_before():
    made = request(messages(30, "a_later_mark"))
    assert not ONE.may_be_in(made, "messages")
    assert Mark(b"a_later_mark").may_be_in(made, "messages")
    assert not ONE.may_be_in(made, "messages")


def test_a_mark_that_is_made_while_a_text_is_looked_at_is_found_in_it():
    later = []

    class Slow:
        def search(self, piece):
            if not later and b"the_text_of_this_test" in piece:
                later.append(Mark(b"made_meanwhile"))
            return None

    slow = Mark(Slow())
    made = request(messages(30, "the_text_of_this_test", "made_meanwhile"))
    assert not slow.may_be_in(made, "messages")
    assert later[0].may_be_in(made, "messages")


def test_marks_are_found_in_a_heavy_request_too():
    made, other = request(messages(30, "one_of_these")), request(messages(30))
    made.heavy = other.heavy = True
    assert ONE.may_be_in(made, "messages")
    assert not ONE.may_be_in(other, "messages")
