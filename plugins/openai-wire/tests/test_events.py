"""Streams from the socket's side: cut anywhere, ended oddly, relayed as they are."""

import orjson
import pytest

from plugway import BackendProtocolError, StreamInterrupted
from plugway_anthropic_wire import Payloads, RawChunks
from plugway_openai_wire import TranslatedEvents
from plugway_openai_wire.chat import ChatApi, ChatReader, Quirks, Target, request_of
from plugway_openai_wire.testing import chat_stream
from plugway_translation import Reasoning

pytestmark = pytest.mark.anyio

STREAM = b"".join(
    chat_stream("Héllo.", thinking="Hm.", tool_calls=[("call_1", "Read", '{"a": "ü"}')])
)
REASON = STREAM.index(b'"finish_reason":"tool_calls"')


class Chunks:
    """Pieces of a body, and how it ends."""

    def __init__(self, *pieces, end=None):
        self.pieces, self.end = list(pieces), end

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.pieces:
            return self.pieces.pop(0)
        raise self.end or StopAsyncIteration


def events(chunks):
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    reader = ChatReader(request_of(body, Target(Reasoning("up", "m"))), "m")
    return TranslatedEvents(chunks, reader)


async def read(chunks):
    """The events that came, and what ended them."""
    found, source = [], events(chunks)
    try:
        while item := await anext(source, None):
            found.append((item.type, {k: v for k, v in item.data.items() if k != "message"}))
    except StreamInterrupted as error:
        return found, error
    return found, None


async def test_a_stream_cut_at_any_byte_never_ends_as_if_it_were_whole():
    whole, _ = await read(Chunks(STREAM))
    assert whole[-1][0] == "message_stop"
    for at in range(len(STREAM)):
        for end in (None, StreamInterrupted("cut")):
            found, error = await read(Chunks(STREAM[:at], end=end))
            said_it_was_done = at > REASON + 30
            if error is not None:
                assert "message_stop" not in dict(found)
                assert found == whole[: len(found)]
            else:
                assert said_it_was_done
                assert found[:-2] == whole[:-2]


async def test_what_came_before_a_break_is_told_before_it():
    cut = STREAM.index(b"Read")
    pieces = STREAM[:cut]
    found, error = await read(Chunks(pieces, end=StreamInterrupted("gone")))
    assert isinstance(error, StreamInterrupted)
    assert ("content_block_stop", {"type": "content_block_stop", "index": 0}) in found


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: raw.replace(b"data: ", b"data:"),
        lambda raw: b": hello\n\n" + raw.replace(b"\n\n", b"\n\n: keep-alive\n\n"),
        lambda raw: raw.replace(b"data: ", b"event: message\nid: 1\ndata: "),
        lambda raw: raw.removesuffix(b"data: [DONE]\n\n"),
        lambda raw: raw.removesuffix(b"\n\n"),
        lambda raw: raw.replace(b'"content":"', b'"content":"', 1) + b"data: {}\n\n",
        lambda raw: b"\xef\xbb\xbf" + raw,
    ],
    ids=[
        *("CRLF", "no blank", "comments", "names", "no [DONE]", "no last blank line"),
        *("more after", "byte order mark"),
    ],
)
async def test_streams_are_read_however_they_are_written(change):
    whole, _ = await read(Chunks(STREAM))
    assert (await read(Chunks(change(STREAM)))) == (whole, None)


async def test_one_byte_at_a_time_is_the_same():
    whole, _ = await read(Chunks(STREAM))
    assert (await read(Chunks(*(bytes([b]) for b in STREAM)))) == (whole, None)


@pytest.mark.parametrize("junk", [b"data: not json\n\n", b"data: [1]\n\n", b"data: null\n\n"])
async def test_an_event_that_is_no_json_object_breaks_the_protocol(junk):
    with pytest.raises(BackendProtocolError, match="it sent"):
        await read(Chunks(junk + STREAM))


def test_an_endless_event_is_refused():
    payloads = Payloads()
    with pytest.raises(BackendProtocolError, match="bytes"):
        for _ in range(40):
            payloads.feed(b"data: " + b"x" * 2**20)


async def test_the_clients_own_dialect_passes_byte_for_byte_and_must_end():
    api = ChatApi(Quirks())
    pieces = [STREAM[at : at + 7] for at in range(0, len(STREAM), 7)]
    assert b"".join([c async for c in RawChunks(Chunks(*pieces), api)]) == STREAM
    with pytest.raises(StreamInterrupted, match="before the reply was complete"):
        [c async for c in RawChunks(Chunks(STREAM[: REASON - 20]), api)]


async def test_the_clients_own_dialect_may_end_after_its_finish_reason_and_nowhere_else():
    end = STREAM.index(b"\n\n", REASON)
    for at in range(REASON - 20, len(STREAM)):
        relayed = RawChunks(Chunks(STREAM[:at]), ChatApi(Quirks()))
        if at >= end:
            assert b"".join([chunk async for chunk in relayed]) == STREAM[:at]
        else:
            with pytest.raises(StreamInterrupted):
                [chunk async for chunk in relayed]


@pytest.mark.parametrize(
    "said", ['"finish_reason": "stop"', '"finish_reason":null', '{"finish_reason": "stop"}']
)
async def test_words_about_a_finish_reason_are_no_end(said):
    said_only = b"".join(chat_stream(said)[:-3])
    with pytest.raises(StreamInterrupted):
        [c async for c in RawChunks(Chunks(said_only), ChatApi(Quirks()))]


def test_payloads_are_whole_json():
    found = Payloads().feed(STREAM)
    assert found.pop() == b"[DONE]"
    assert all(isinstance(orjson.loads(payload), dict) for payload in found)
