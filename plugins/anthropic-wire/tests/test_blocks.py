"""Streams with events out of order reach clients in order; all others keep their bytes."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import StreamEvent
from plugway.testing import anthropic_stream, parse_sse
from plugway_anthropic_wire._blocks import OrderedBlocks
from plugway_anthropic_wire._characters import JoinedCharacters
from plugway_wire.emitter import Order


def raw_of(*events):
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events
    )


def start(index, kind="text"):
    block = {"type": kind, kind: ""}
    return {"type": "content_block_start", "index": index, "content_block": block}


def said(index, text, kind="text"):
    delta = {"type": f"{kind}_delta", kind: text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index):
    return {"type": "content_block_stop", "index": index}


USAGE = {"input_tokens": 1, "output_tokens": 1}
HEAD = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    },
}
TAIL = (
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE},
    {"type": "message_stop"},
)
CALL = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
CALLED = ({"type": "content_block_start", "index": 1, "content_block": CALL}, stop(1))
THOUGHT, TEXT = ("thinking", "Hm so."), ("text", "Yes thinking_delta no")
MIXED = {
    "thinking in a text block": (
        *(start(0), said(0, "Hm ", "thinking"), said(0, "so.", "thinking")),
        *(said(0, "Yes "), said(0, "thinking_delta no"), stop(0), *CALLED),
    ),
    "text in a thinking block": (
        *(start(0, "thinking"), said(0, "Hm so.", "thinking"), said(0, "Yes thinking_delta no")),
        *(stop(0), *CALLED),
    ),
    "a ping between": (
        *(start(0), {"type": "ping"}, said(0, "Hm so.", "thinking"), said(0, TEXT[1]), stop(0)),
        *CALLED,
    ),
    "an index of its own without a start": (
        *(start(0), said(1, "Hm so.", "thinking"), said(0, TEXT[1]), stop(0)),
        *CALLED,
    ),
    "a signature after its thinking": (
        *(start(0, "thinking"), said(0, "Hm so.", "thinking"), said(0, TEXT[1])),
        *(said(0, "sig", "signature"), stop(0), *CALLED),
    ),
    "two heads": (
        *(HEAD, start(0, "thinking"), said(0, "Hm so.", "thinking"), stop(0)),
        *(start(1), said(1, TEXT[1]), stop(1)),
        *({**event, "index": 2} for event in CALLED),
    ),
}


def ordered(pieces):
    async def chunks():
        for piece in pieces:
            yield piece

    async def every():
        return b"".join([c async for c in OrderedBlocks(JoinedCharacters(chunks()))])

    try:
        every().send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def cut(raw, places):
    at = [0, *sorted(places), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(at)]


@pytest.mark.parametrize("kind", MIXED)
@given(places=st.lists(st.integers(0, 900), max_size=6))
def test_each_delta_is_in_a_block_of_its_type(kind, places):
    raw = raw_of(HEAD, *MIXED[kind], *TAIL)
    events = parse_sse(ordered(cut(raw, [min(place, len(raw)) for place in places])))
    order, blocks = Order(), []
    for name, data in events:
        order.check(StreamEvent(name, data))
        if name == "content_block_start":
            blocks.append([data["content_block"]["type"], ""])
            assert data["index"] == len(blocks) - 1
        elif name == "content_block_delta":
            assert data["delta"]["type"] == f"{blocks[-1][0]}_delta"
            blocks[-1][1] += data["delta"][blocks[-1][0]]
    found = [tuple(block) for block in blocks if block != ["text", ""]]  # begun before a thought
    assert order.ended
    assert found == [THOUGHT, TEXT, ("tool_use", "")]


@given(places=st.lists(st.integers(0, 2000), max_size=6))
def test_a_stream_in_order_keeps_its_bytes(places):
    events = anthropic_stream("Yes text_delta.", thinking="thinking_delta", tool_calls=[("a", {})])
    raw = raw_of(*(data for _, data in events))
    assert ordered(cut(raw, [min(place, len(raw)) for place in places])) == raw


def test_blocks_that_are_open_at_once_keep_their_bytes():
    deltas = (said(0, "a"), said(1, "b", "thinking"), said(0, "c"), stop(0), stop(1))
    raw = raw_of(HEAD, start(0), start(1, "thinking"), *deltas, *TAIL)
    assert ordered([raw]) == raw


def test_an_index_that_is_no_number_is_left_to_the_client():
    raw = raw_of(HEAD, start([]), said({}, "thinking_delta"), *TAIL)
    assert ordered([raw]) == raw


@pytest.mark.parametrize("end", [0, 1, 50])
def test_nothing_is_held_back(end):
    raw = raw_of(HEAD, start(0)) + raw_of(said(0, "a"))[:end]
    assert ordered([raw]) == raw
