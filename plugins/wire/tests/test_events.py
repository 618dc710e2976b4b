"""Events keep their bytes; a stream and a message turn into each other without a loss."""

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import plugway
from plugway import BackendProtocolError, StreamInterrupted, event, replay
from plugway.testing import anthropic_message
from plugway_wire.emitter import Order
from plugway_wire.events import CUT_REASONS, StreamEvent, collect
from plugway_wire.gather import Gathered

text_block = st.builds(lambda t: {"type": "text", "text": t}, st.text(min_size=1))
thinking_block = st.builds(
    lambda t, s: {"type": "thinking", "thinking": t, "signature": s},
    st.text(min_size=1),
    st.text(min_size=1),
)
tool_block = st.builds(
    lambda n, i: {"type": "tool_use", "id": "toolu_1", "name": n, "input": i},
    st.text(min_size=1),
    st.dictionaries(st.text(), st.integers(-(2**63), 2**63) | st.text() | st.none()),
)
other_block = st.just({"type": "redacted_thinking", "data": "opaque"})
messages = st.builds(
    lambda content, reason: {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 7},
    },
    st.lists(text_block | thinking_block | tool_block | other_block, max_size=5),
    st.sampled_from(["end_turn", "tool_use", "max_tokens"]),
)


async def stream(events):
    for item in events:
        yield item


def collected(events):
    return anyio.run(collect, stream(events))


@given(messages)
def test_replaying_a_message_and_collecting_it_gives_the_message(message):
    assert collected(replay(message)) == message


@given(messages)
def test_a_replayed_message_is_a_legal_stream(message):
    order = Order()
    for item in replay(message):
        order.check(item)
    assert order.ended


def test_citations_survive_replay_and_collect():
    block = {"type": "text", "text": "x", "citations": [{"type": "char_location"}]}
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [block],
        "stop_reason": "end_turn", "stop_sequence": None, "usage": {"output_tokens": 1},
    }  # fmt: skip
    assert collected(replay(message))["content"] == [block]


def test_an_event_with_bytes_leaves_as_it_came():
    raw = b"event:  ping\r\ndata: {}\r\n\r\n"
    assert StreamEvent("ping", raw=raw, payload=b"{}").encode() is raw


def test_an_event_made_here_is_encoded_with_its_type_twice():
    encoded = event("content_block_stop", index=2).encode()
    assert encoded == (
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":2}\n\n'
    )


def test_usage_of_the_end_wins_and_null_does_not():
    start = event("message_start", message={"usage": {"input_tokens": 9, "output_tokens": 0}})
    end = event("message_delta", delta={}, usage={"input_tokens": None, "output_tokens": 4})
    message = collected([start, end, event("message_stop")])
    assert message["usage"] == {"input_tokens": 9, "output_tokens": 4}


def test_a_stream_without_its_end_is_not_a_message():
    start = event("message_start", message={"content": []})
    with pytest.raises(StreamInterrupted):
        collected([start, event("message_delta", delta={}, usage={})])


@pytest.mark.parametrize(
    ("kind", "status"),
    [("overloaded_error", 529), ("rate_limit_error", 429), ("api_error", 500), ("x", 500)],
)
def test_an_error_event_is_a_failure_with_its_status(kind, status):
    with pytest.raises(StreamInterrupted, match="busy") as caught:
        collected([event("error", error={"type": kind, "message": "busy"})])
    assert caught.value.status == status


def test_arguments_that_are_no_json_are_refused():
    events = [
        event("message_start", message={}),
        event("content_block_start", index=0, content_block={"type": "tool_use", "id": "t"}),
        event(
            "content_block_delta",
            index=0,
            delta={"type": "input_json_delta", "partial_json": '{"a'},
        ),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": "tool_use"}, usage={}),
        event("message_stop"),
    ]
    with pytest.raises(BackendProtocolError, match="not valid JSON"):
        collected(events)


def call_events(*pieces, stop, more=()):
    block = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return [
        event("message_start", message={}),
        event("content_block_start", index=0, content_block=block),
        *(event("content_block_delta", index=0, delta=delta) for delta in deltas),
        event("content_block_stop", index=0),
        *more,
        event("message_delta", delta={"stop_reason": stop}, usage={}),
        event("message_stop"),
    ]


@pytest.mark.parametrize("pieces", [(), ("",), ("{",), ('{"a": 1',), ('{"a": ', '"x')])
@pytest.mark.parametrize("stop", sorted(CUT_REASONS))
def test_a_call_that_was_cut_off_is_left_out_and_the_message_says_so(pieces, stop):
    message = collected(call_events(*pieces, stop=stop))
    (block,) = message["content"]
    assert block["type"] == "text"
    assert "`Bash` was cut off" in block["text"]
    assert message["stop_reason"] == stop


def test_arguments_that_cannot_be_written_again_are_a_failure():
    deep = '{"a": ' + "[" * 300 + "]" * 300 + "}"
    with pytest.raises(BackendProtocolError, match="nested too deeply"):
        collected(call_events(deep[:50], deep[50:], stop="tool_use"))


def test_a_call_that_is_whole_stays_in_an_answer_that_was_cut_off():
    message = collected(call_events('{"a": 6', "0}", stop="max_tokens"))
    assert message["content"][0]["input"] == {"a": 60}
    text = event("content_block_start", index=1, content_block={"type": "text", "text": "x"})
    message = collected(call_events(stop="max_tokens", more=[text]))
    assert message["content"][0]["input"] == {}


def test_a_message_that_is_collected_is_bounded():
    with pytest.raises(BackendProtocolError, match="the message is longer than 8388608 bytes"):
        collected(call_events(*["x" * 2**20] * 9, stop="tool_use"))
    with pytest.raises(BackendProtocolError, match="the message is longer than 8388608 bytes"):
        collected(call_events(*["\u20ac" * 2**20] * 3, stop="tool_use"))
    start = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    with pytest.raises(BackendProtocolError, match="more than 10000 blocks"):
        collected([event("message_start", message={}), *[start] * 10_001])


def test_a_text_in_many_pieces_takes_no_more_memory_than_its_length():
    gathered = Gathered("it", limit=10**6)
    for _ in range(100_000):
        gathered.add("\u20ac")
    assert len(gathered._fresh) + len(gathered._joined) < 2000
    assert gathered.text() == "\u20ac" * 100_000


def test_data_that_is_no_json_object_is_the_upstreams_fault():
    with pytest.raises(BackendProtocolError):
        _ = StreamEvent("ping", payload=b"{").data
    with pytest.raises(BackendProtocolError):
        _ = StreamEvent("ping", payload=b"[]").data


def test_verdicts_on_calls_survive_replay_and_collect_in_the_last_delta():
    verdicts = [{"type": "dangerous_tool_use", "status": {"type": "available", "tool_uses": {}}}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    message |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"output_tokens": 1}}
    message["safeguard_results"] = verdicts
    items = list(replay(message))
    assert "safeguard_results" not in items[0].data["message"]
    assert items[-2].data["delta"]["safeguard_results"] == verdicts
    assert collected(items) == message


@pytest.mark.parametrize("form", ["message", "streamed", "relay"])
def test_a_reply_in_any_form_has_its_events(form):
    message = {**anthropic_message("hello"), "usage": {"input_tokens": 1, "output_tokens": 2}}
    events = list(replay(message))

    async def chunks():
        for item in events:
            yield item.encode()

    given = {"message": message, "streamed": stream(events), "relay": chunks()}[form]
    reply = getattr(plugway.Reply, form)(given)
    assert anyio.run(collect, reply.decoded()) == message
