"""Any chunking of a stream gives the same events, and their bytes joined are the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import BackendProtocolError
from plugway_wire.sse import Decoder, StreamScan

PIECES = st.lists(
    st.sampled_from(
        [
            b'event: ping\ndata: {"type": "ping"}\n\n',
            b'event: content_block_delta\r\ndata: {"type":"content_block_delta"}\r\n\r\n',
            b'data: {"type":"message_stop"}\n\n',
            b": a comment\n\n",
            b"event: unknown_thing\ndata: {\"a\":\ndata: 1}\n\n",
            b"\rdata: {}\r\r",
            b"id: 7\nretry: 100\nevent: ping\ndata: {}\n\n",
            "event: x\ndata: {\"t\":\"é漢\"}\n\n".encode(),
        ]
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


def decode(stream, cuts):
    decoder, events, start = Decoder(), [], 0
    for cut in [*sorted(c % (len(stream) + 1) for c in cuts), len(stream)]:
        events += decoder.feed(stream[start:cut])
        start = cut
    return events, decoder


@given(PIECES, st.lists(st.integers(0, 10_000), max_size=30))
def test_chunking_changes_no_event(pieces, cuts):
    stream = b"".join(pieces)
    whole, _ = decode(stream, [])
    pieced, _ = decode(stream, cuts)
    assert [(e.type, e.data) for e in pieced] == [(e.type, e.data) for e in whole]


@given(PIECES, st.lists(st.integers(0, 10_000), max_size=30))
def test_the_bytes_of_all_events_are_the_stream(pieces, cuts):
    stream = b"".join(p for p in pieces if not p.startswith(b"\r"))
    events, decoder = decode(stream, cuts)
    assert b"".join(e.raw or b"" for e in events) == stream
    assert not decoder.pending


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_bytes_make_the_decoder_fail(chunks):
    decoder = Decoder()
    for chunk in chunks:
        decoder.feed(chunk)


def test_one_byte_at_a_time_works():
    stream = b'event: ping\r\ndata: {"type": "ping"}\r\n\r\nevent: ping\ndata: {}\n\n'
    events, _ = decode(stream, range(len(stream)))
    assert [e.type for e in events] == ["ping", "ping"]


def test_an_event_is_whole_when_its_last_line_end_is_split():
    one, other = b'event: ping\r\ndata: {"n":1}\r\n\r\n', b'event: ping\r\ndata: {"n":2}\r\n\r\n'
    decoder = Decoder()
    first = decoder.feed(one[:-1])
    assert [e.raw for e in first] == [one], "at once, and another event may follow"
    assert decoder.feed(b"") == []
    assert [e.raw for e in decoder.feed(b"\n" + other)] == [other]


def test_an_event_line_may_be_missing():
    events, _ = decode(b'data: {"type":"message_stop"}\n\n', [])
    assert events[0].type == "message_stop"


def test_an_event_without_end_is_refused_at_the_limit():
    decoder = Decoder(max_event_bytes=100)
    with pytest.raises(BackendProtocolError, match="larger than 100"):
        decoder.feed(b"data: " + b"x" * 200)


RECORDED = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":7}}}\n\n'
    b'event: ping\ndata: {"type":"ping"}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":'
    b'{"type":"text_delta","text":"\\nevent: message_stop\\n event: error"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","usage":{"output_tokens":3}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@given(st.lists(st.integers(0, len(RECORDED)), max_size=40), st.booleans())
def test_the_scan_sees_content_usage_and_end_in_any_chunking(cuts, crlf):
    stream = RECORDED.replace(b"\n", b"\r\n") if crlf else RECORDED
    scan, start = StreamScan(), 0
    for cut in [*sorted(cuts), len(stream)]:
        scan.feed(stream[start:cut])
        start = cut
    assert scan.started
    assert scan.content
    assert scan.finished
    assert not scan.failed
    assert scan.data("message_start")["message"]["usage"]["input_tokens"] == 7
    assert scan.data("message_delta")["usage"]["output_tokens"] == 3


def test_text_that_speaks_of_an_end_is_no_end():
    scan = StreamScan()
    scan.feed(RECORDED[: RECORDED.index(b"event: content_block_stop")])
    assert scan.content
    assert not scan.finished
    assert not scan.failed


def test_a_scan_keeps_the_error_it_saw():
    scan = StreamScan()
    scan.feed(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n')
    assert scan.failed
    assert scan.data("error")["error"]["type"] == "overloaded_error"
