"""What an upstream's events and messages must hold, and what they may lack."""

import json

import pytest

from plugway import BackendProtocolError
from plugway_wire.bounds import check_answer
from plugway_wire.shape import wrong_in_event, wrong_in_message
from plugway_wire.sse import Decoder

TEXT = {"type": "text", "text": "Hi"}
MESSAGE = {"type": "message", "role": "assistant", "model": "m", "content": [TEXT], "usage": {}}


@pytest.mark.parametrize("odd", [[0], {"x": 0}, "0", True, 1.5, None])
@pytest.mark.parametrize("name", ["content_block_start", "content_block_delta", "content_block_stop"])  # fmt: skip
def test_an_index_is_a_number(name, odd):
    data = {"type": name, "index": odd, "content_block": TEXT, "delta": None}
    assert wrong_in_event(name, data) == "index"
    assert wrong_in_event(name, {**data, "index": 3}) == ""


@pytest.mark.parametrize(
    ("name", "data", "wrong"),
    [
        ("message_start", {}, "message"),
        ("message_start", {"message": {"id": 5}}, "message.id"),
        ("message_start", {"message": {"usage": [1]}}, "message.usage"),
        ("content_block_start", {"content_block": {"type": ["text"]}}, "content_block.type"),
        ("content_block_start", {"content_block": {"type": "text", "text": {}}}, "content_block.text"),
        ("content_block_delta", {"delta": "x"}, "delta"),
        ("content_block_delta", {"delta": {"type": "text_delta"}}, "delta.text"),
        ("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": 5}}, "delta.partial_json"),
        ("content_block_delta", {"delta": {"type": "citations_delta"}}, "delta.citation"),
        ("message_delta", {"delta": {"stop_reason": {}}}, "delta.stop_reason"),
        ("message_delta", {"delta": {}, "usage": "x"}, "usage"),
        ("message_stop", {"type": "ping"}, "type"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_event_is_named(name, data, wrong):
    assert wrong_in_event(name, data) == wrong
    raw = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
    (event,) = Decoder().feed(raw)
    with pytest.raises(BackendProtocolError, match=f"`{wrong}` in a `{name}` event"):
        _ = event.data


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("news", {"index": []}),
        ("message_start", {"message": {}}),
        ("content_block_start", {"content_block": {"type": "news", "text": 5}}),
        ("content_block_start", {"content_block": {"type": "text"}}),
        ("content_block_start", {"content_block": {"type": "text", "citations": []}}),
        ("content_block_delta", {"delta": None}),
        ("content_block_delta", {"delta": {"type": "news", "text": 5}}),
        ("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": None}}),
        ("message_delta", {"usage": None}),
        ("ping", {}),
    ],
)
def test_what_servers_leave_out_and_what_is_new_passes(name, data):
    assert wrong_in_event(name, data) == ""


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, ""),
        ({"stop_reason": None, "usage": None}, ""),
        ({"content": [{"type": "news", "text": 5}]}, ""),
        ({"content": None}, "content"),
        ({"content": [TEXT, None]}, "content.1"),
        ({"content": [{"type": "text"}]}, "content.0.text"),
        ({"content": [{}]}, "content.0.type"),
        ({"content": [{**TEXT, "citations": 7}]}, "content.0.citations"),
        ({"content": [{**TEXT, "citations": ["x"]}]}, "content.0.citations"),
        ({"content": [{**TEXT, "citations": None}, {**TEXT, "citations": [{}]}]}, ""),
        (
            {"content": [{"type": "thinking", "thinking": "", "signature": 5}]},
            "content.0.signature",
        ),
        ({"model": []}, "model"),
        ({"usage": 5}, "usage"),
        ({"stop_reason": ["end_turn"]}, "stop_reason"),
    ],
)
def test_what_is_wrong_in_a_message_is_named(change, wrong):
    assert wrong_in_message({**MESSAGE, **change}) == wrong


def test_an_answer_is_nested_no_deeper_than_can_be_written_within_others():
    check_answer(b"[" * 214 + b"]" * 214)
    check_answer(b'"' + b"[" * 500 + b'"')
    with pytest.raises(BackendProtocolError, match="nested more than 214 levels"):
        check_answer(b"[" * 215 + b"]" * 215)
