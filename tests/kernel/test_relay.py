"""What is held before the first content: its limit, and the name of the model in it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import BackendProtocolError, Reply, StreamInterrupted, event, replay
from plugway.exchange.relay import EventRelay, RawRelay, with_model, write_events
from plugway.testing import anthropic_message, anthropic_stream, parse_sse
from plugway_wire.sse import MAX_EVENT_BYTES

pytestmark = pytest.mark.anyio

HOSTILE = [
    "a",
    'quote" , "content": [{"type": "tool_use"}], "x": "',
    "back\\slash\\",
    "{{7*7}} ${x} %s \\1 \\g<0>",
    "claude-x",
    "漢字 é 🙂",
    "event: message_stop",
    "x" * 256,
]


async def pieces(*chunks):
    for chunk in chunks:
        yield chunk


def wire(events):
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data, ensure_ascii=False).encode())
        for name, data in events
    )


async def relayed(relay):
    return b"".join([chunk async for chunk in relay])


@pytest.mark.parametrize("asked", HOSTILE)
@pytest.mark.parametrize("named", ["claude-x", "Hello.", "model", "", "m"])
async def test_only_the_model_of_message_start_changes_in_a_raw_stream(asked, named):
    events = anthropic_stream("Hello. m claude-x model", model=named)
    events[0][1]["message"]["unknown"] = {"model": named}
    stream = b": comment\n\n" + wire([("ping", {"type": "ping"})]) + wire(events)
    relay = RawRelay(pieces(*(stream[i : i + 37] for i in range(0, len(stream), 37))))
    await relay.prime()
    relay.rename(asked)
    found = parse_sse(await relayed(relay))
    events[0][1]["message"]["model"] = asked
    assert found == [("ping", {"type": "ping"}), *events]
    assert relay.finished


@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=20))
async def test_every_byte_after_message_start_stays(cuts):
    head, rest = wire(anthropic_stream("x")[:1]), wire(anthropic_stream("é" * 50)[1:])
    odd = rest.replace(b"\n\n", b"\r\n\r\n", 1) + b'event: new_thing\ndata: {"a":1e400}\n\n'
    stream, chunks, turn = head + odd, [], 0
    while stream:
        size = cuts[turn % len(cuts)]
        chunks.append(stream[:size])
        stream, turn = stream[size:], turn + 1
    relay = RawRelay(pieces(*chunks))
    await relay.prime()
    relay.rename("asked")
    assert (await relayed(relay)).endswith(odd)


async def test_a_message_start_that_is_no_json_is_a_failure_that_another_target_may_mend():
    stream = b'event: message_start\ndata: {"a\n\nevent: content_block_start\ndata: {}\n\n'
    relay = RawRelay(pieces(stream))
    await relay.prime()
    with pytest.raises(BackendProtocolError):
        relay.rename("asked")


async def test_events_are_renamed_without_a_change_to_the_others():
    start = event("message_start", message=anthropic_message("", model="real"))
    block = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    relay = EventRelay(pieces(start, block))
    await relay.prime()
    relay.rename("asked")
    found = [item async for item in relay]
    assert found[0].data["message"] == {**start.data["message"], "model": "asked"}
    assert found[1] is block


@pytest.mark.parametrize("asked", HOSTILE)
def test_a_whole_body_keeps_everything_else_to_the_byte(asked):
    body = b'{ "id":"m","model": "real" ,"n":123456789012345678901234567890,"content":[ {"model":"real"}]}'
    found = with_model(Reply.whole(200, body), asked).body
    assert json.loads(found) == {**json.loads(body), "model": asked}
    assert b"123456789012345678901234567890" in found
    assert b'[ {"model":"real"}]' in found


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}x", b'{"a', b'{"a":1,"a":2}', b"null"])
def test_what_is_no_message_does_not_raise(body):
    assert with_model(Reply.whole(200, body), "asked").status == 200


async def test_what_is_held_before_content_is_bounded():
    ping = b"event: ping\ndata: {}\n\n" * 50_000
    relay = RawRelay(pieces(*[ping] * 20))
    with pytest.raises(BackendProtocolError, match=str(MAX_EVENT_BYTES)):
        await relay.prime()


async def test_an_error_that_is_a_bare_string_is_told():
    relay = RawRelay(pieces(b'event: error\ndata: {"error": "n_keep: 5 >= n_ctx: 4"}\n\n'))
    with pytest.raises(StreamInterrupted, match="n_keep"):
        await relay.prime()


class Paced:
    """A stream that says which of its events are there already."""

    def __init__(self, events, *, here):
        self._events, self._here = list(events), here

    @property
    def pending(self):
        return self._here and bool(self._events)

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self._events:
            raise StopAsyncIteration
        return self._events.pop(0)


@pytest.mark.parametrize("here", [True, False])
async def test_events_that_are_at_hand_go_out_in_one_piece(here):
    events, pieces = list(replay(anthropic_message("hi"))), []

    class Told:
        async def chunk(self, data):
            pieces.append(data)

    await write_events(EventRelay(Paced(events, here=here)), Told())
    assert b"".join(pieces) == b"".join(item.encode() for item in events)
    assert len(pieces) == (1 if here else len(events))
