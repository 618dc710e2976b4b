"""The stream as bytes: cut into any pieces, and broken off after every byte."""

import itertools

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_answers import call, message, message_of, reader, reasoning, response, stream

from plugway import BackendProtocolError, StreamInterrupted
from plugway_openai_wire import TranslatedEvents
from plugway_openai_wire.responses import ResponsesApi

pytestmark = pytest.mark.timeout(60)

ANSWER = response(reasoning("Hm."), message("Grüße 🙂"), call("f", '{"a":"é"}'))


def raw_of(answer, chop):
    events = stream(answer, chop)
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data)) for data in events
    )


RAW = raw_of(ANSWER, 3)
WHOLE = message_of(reader().whole(ANSWER))


def told(pieces):
    """The events of a body in these pieces. Nothing in them waits, so that no loop is needed."""

    async def chunks():
        for piece in pieces:
            yield piece

    async def every():
        events = TranslatedEvents(chunks(), reader())
        events._drain = nothing
        return [item async for item in events]

    async def nothing():
        pass

    try:
        every().send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@given(cuts=st.lists(st.integers(0, len(RAW)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_any_chunking_gives_the_same_message(cuts):
    at = [0, *sorted(cuts), len(RAW)]
    pieces = [RAW[a:b] for a, b in itertools.pairwise(at)]
    assert message_of(told(pieces)) == WHOLE


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_single_bytes_comments_and_line_endings_change_nothing(ending):
    raw = b": hello\n\n" + RAW
    raw = raw.replace(b"\n", ending)
    assert message_of(told([raw[n : n + 1] for n in range(len(raw))])) == WHOLE


def test_a_body_that_stops_after_any_byte_is_never_taken_for_the_whole():
    raw = raw_of(ANSWER, 99)
    complete = len(raw) - 2  # what is missing then are blank lines, which say nothing
    for size in range(complete):
        with pytest.raises((StreamInterrupted, BackendProtocolError)):
            told([raw[:size]])
    assert message_of(told([raw[:complete]])) == WHOLE


def test_the_end_mark_is_known_by_its_type_and_nothing_else():
    api = ResponsesApi()
    ends = [data for data in stream(ANSWER) if api.is_end(orjson.dumps(data))]
    assert [data["type"] for data in ends] == ["response.completed"]
    assert api.is_end(b'{"type":"error","message":"x"}')
    assert api.is_end(b'{"response":{},"type": "response.failed"}')
    quoted = orjson.dumps({"type": "response.output_text.delta", "delta": '"response.completed"'})
    assert not api.is_end(quoted)
    nested = orjson.dumps({"type": "response.created", "response": {"x": "error"}})
    assert not api.is_end(nested)
    assert not api.is_end(b'{"type": "response.completed"')


@pytest.mark.parametrize("kind", [["response.completed"], {"x": "response.completed"}, 5, None])
def test_a_type_that_is_no_text_is_not_the_end(kind):
    data = orjson.dumps({"type": kind, "response": {"type": "response.completed"}})
    assert not ResponsesApi().is_end(data)
