"""The emitter makes legal streams only; the check finds every illegal one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import BackendProtocolError, Emitter, event
from plugway_wire.emitter import Order

STEPS = st.lists(
    st.tuples(st.sampled_from(["text", "thinking", "tool", "whole", "close"]), st.text(max_size=5)),
    max_size=15,
)


@given(STEPS)
def test_whatever_the_parts_the_stream_is_legal(steps):
    emitter = Emitter(model="m")
    events = emitter.start({"input_tokens": 1, "output_tokens": 0})
    for kind, text in steps:
        match kind:
            case "text":
                events += emitter.text(text)
            case "thinking":
                events += emitter.thinking(text, signature="sig")
            case "tool":
                events += emitter.tool_start(text or "t") + emitter.tool_arguments("{}")
            case "whole":
                events += emitter.block({"type": "redacted_thinking", "data": text})
            case _:
                events += emitter.close_block()
    events += emitter.finish("end_turn", {"output_tokens": 1})
    order = Order()
    for item in events:
        order.check(item)
    assert order.ended


def test_empty_text_opens_no_block():
    emitter = Emitter(model="m")
    emitter.start({})
    assert emitter.text("") == []
    assert emitter.empty


def test_thinking_is_signed_once_when_it_closes():
    emitter = Emitter(model="m")
    emitter.start({})
    emitter.thinking("a", signature="s1")
    closing = emitter.text("b")
    assert [e.data.get("delta", {}).get("type") for e in closing] == [
        "signature_delta",
        None,
        None,
        "text_delta",
    ]


@pytest.mark.parametrize("kind", ["redacted_thinking", "web_search_tool_result", "fallback"])
def test_a_block_without_deltas_comes_whole_in_its_start(kind):
    emitter = Emitter(model="m")
    emitter.start({})
    started, stopped = emitter.block({"type": kind, "data": "x"})
    assert started.data["content_block"] == {"type": kind, "data": "x"}
    assert (started.type, stopped.type) == ("content_block_start", "content_block_stop")


def test_the_input_of_a_call_comes_in_deltas():
    emitter = Emitter(model="m")
    emitter.start({})
    events = [*emitter.tool_start("Read"), *emitter.tool_arguments('{"a":1}')]
    assert events[0].data["content_block"]["input"] == {}
    assert events[-1].data["delta"] == {"type": "input_json_delta", "partial_json": '{"a":1}'}


def test_arguments_need_an_open_call():
    emitter = Emitter(model="m")
    emitter.start({})
    with pytest.raises(RuntimeError):
        emitter.tool_arguments("{}")


def test_nothing_follows_the_end():
    emitter = Emitter(model="m")
    emitter.start({})
    emitter.finish("end_turn", {})
    with pytest.raises(RuntimeError):
        emitter.text("more")


START = event("message_start", message={})
TEXT = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
STOP = event("content_block_stop", index=0)
END = event("message_delta", delta={}, usage={})


@pytest.mark.parametrize(
    "events",
    [
        [TEXT],
        [START, START],
        [START, STOP],
        [START, TEXT, TEXT],
        [START, TEXT, END],
        [START, event("content_block_start", index=1, content_block={"type": "text"})],
        [START, TEXT, event("content_block_delta", index=1, delta={"type": "text_delta"})],
        [START, TEXT, event("content_block_delta", index=0, delta={"type": "thinking_delta"})],
        [START, event("message_stop")],
        [START, END, event("message_stop"), END],
        [START, END, TEXT],
    ],
)
def test_an_illegal_order_is_refused(events):
    order = Order()
    with pytest.raises(BackendProtocolError):
        for item in events:
            order.check(item)


def test_pings_and_unknown_events_may_come_at_any_time():
    order = Order()
    for item in [event("ping"), START, event("new_thing"), TEXT, event("ping"), STOP, END]:
        order.check(item)
