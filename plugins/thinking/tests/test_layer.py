"""The layer around a stream."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import StreamEvent, event
from plugway_thinking._layer import SignedStream

pytestmark = pytest.mark.anyio


class Source:
    def __init__(self, events):
        self._events = iter(events)
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        for item in self._events:
            return item
        raise StopAsyncIteration

    async def aclose(self):
        self.closed = True


def start(index, **block):
    return event("content_block_start", index=index, content_block=block)


def delta(index, **fields):
    return event("content_block_delta", index=index, delta=fields)


def stop(index):
    return event("content_block_stop", index=index)


async def through(*events):
    return [item async for item in SignedStream(Source(events), lambda mark: f"ours:{mark}")]


def marks(events):
    deltas = [e.data["delta"] for e in events if e.type == "content_block_delta"]
    return [d["signature"] for d in deltas if d["type"] == "signature_delta"]


async def test_a_signature_is_replaced_and_stands_last():
    found = await through(
        start(0, type="thinking", thinking="", signature=""),
        delta(0, type="signature_delta", signature="early"),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="signature_delta", signature="late"),
        stop(0),
    )
    assert marks(found) == ["ours:late"]
    assert [e.type for e in found[-2:]] == ["content_block_delta", "content_block_stop"]


async def test_a_signature_in_the_start_is_moved_to_the_end():
    found = await through(start(0, type="thinking", thinking="hm", signature="s"), stop(0))
    assert found[0].data["content_block"]["signature"] == ""
    assert marks(found) == ["ours:s"]


async def test_a_redacted_block_is_signed_where_it_stands():
    found = await through(start(0, type="redacted_thinking", data="d"), stop(0))
    assert found[0].data["content_block"]["data"] == "ours:d"
    assert len(found) == 2


async def test_a_stream_that_breaks_off_in_a_thought_is_not_signed():
    found = await through(start(0, type="thinking"), delta(0, type="thinking_delta", thinking="h"))
    assert marks(found) == []


async def test_closing_it_twice_leaves_the_stream_below_to_the_kernel():
    source = Source([stop(0)])
    layer = SignedStream(source, str)
    await layer.aclose()
    await layer.aclose()
    assert not source.closed


OTHERS = st.lists(
    st.sampled_from(
        [
            StreamEvent("ping", raw=b"event: ping\ndata:  {}\n\n", payload=b"{}"),
            StreamEvent("unheard_of", raw=b"event: unheard_of\ndata: [\n\n", payload=b"["),
            start(0, type="text", text=""),
            start(1, type="tool_use", id="t", name="T", input={}),
            delta(0, type="text_delta", text="x"),
            delta(1, type="input_json_delta", partial_json="{"),
            stop(0),
            stop(1),
        ]
    ),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(OTHERS)
async def test_events_without_thinking_are_the_same_objects(events):
    found = await through(*events)
    assert len(found) == len(events)
    assert all(a is b for a, b in zip(found, events, strict=True))
