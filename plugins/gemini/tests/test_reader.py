"""Gemini's answers as events: any part, any chunking, any cut."""

import json
from itertools import pairwise

import anyio
import pytest
from gemini_answers import SIGNATURE, USAGE, blocked, call, piece, sse, text, thought
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import BackendProtocolError, BackendRefused, StreamInterrupted
from plugway_capabilities import Facts
from plugway_gemini._models import Target
from plugway_gemini._reader import Reader
from plugway_gemini._request import translate
from plugway_gemini._sse import DataDecoder
from plugway_signature import parse_signature
from plugway_translation import Reasoning
from plugway_wire.emitter import Order
from plugway_wire.events import collect

LONG = "mcp__" + "server" * 20 + "__tool"
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("Read", "Write", LONG)]
TARGET = Target("gemini-3-pro", Reasoning.of("g", "gemini-3-pro"))


def request(*more, **fields):
    messages = [{"role": "user", "content": "go"}, *more]
    return {"model": "m", "max_tokens": 9000, "messages": messages, "tools": TOOLS, **fields}


def reader(target=TARGET, **fields):
    return Reader(translate(request(**fields), target), target, "told")


def events_of(pieces, found=None):
    found = found or reader()
    return [event for p in pieces for event in found.feed(p)] + found.end()


def message_of(events):
    order = Order()
    for event in events:
        order.check(event)
    assert order.ended

    async def each():
        for event in events:
            yield event

    return anyio.run(collect, each())


def answer(*pieces, **fields):
    return message_of(events_of(pieces, reader(**fields)))


def carried(mark):
    """What our signature holds."""
    found = parse_signature(mark)
    assert found is not None
    return found.state


def kinds(message):
    return [block["type"] for block in message["content"]]


def test_text_comes_as_it_is_written():
    found = events_of([piece(text("Hel")), piece(text("lo"), finish="STOP", usage=USAGE)])
    deltas = [e.data["delta"]["text"] for e in found if e.type == "content_block_delta"]
    assert deltas == ["Hel", "lo"]
    message = message_of(found)
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    assert (message["stop_reason"], message["model"]) == ("end_turn", "told")


def test_usage_adds_up():
    """A prompt's count includes what was cached; thoughts are output."""
    found = events_of([piece(text("a")), piece(finish="STOP", usage=USAGE)])
    start = found[0].data["message"]["usage"]
    assert (start["input_tokens"], start["cache_read_input_tokens"]) == (20, 100)
    assert message_of(found)["usage"] == {
        "input_tokens": 20,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 100,
        "output_tokens": 37,
        "output_tokens_details": {"thinking_tokens": 30},
    }


def test_missing_usage_is_no_error():
    found = piece(text("a"), finish="STOP")
    del found["usageMetadata"]
    assert answer(found)["usage"]["output_tokens"] == 0


def test_calls_in_parallel_with_the_signature_before_them():
    found = answer(
        piece(thought("I look")),
        piece(call("Read", {"path": "a"}, "fc-1", thoughtSignature=SIGNATURE)),
        piece(call("Write", None, "fc.2:x"), finish="STOP", usage=USAGE),
    )
    assert kinds(found) == ["thinking", "tool_use", "tool_use"]
    assert carried(found["content"][0]["signature"]) == {"next": SIGNATURE}
    first, second = found["content"][1:]
    assert (first["id"], first["name"], first["input"]) == ("fc-1", "Read", {"path": "a"})
    assert second["input"] == {}
    assert second["id"].replace("_", "").isalnum()
    assert found["stop_reason"] == "tool_use"


def test_without_thinking_to_carry_it_a_block_of_its_own_carries_the_signature():
    found = answer(piece(text("ok"), call("Read", {}, "a", thoughtSignature="S="), finish="STOP"))
    assert kinds(found) == ["text", "redacted_thinking", "tool_use"]
    assert carried(found["content"][1]["data"]) == {"next": "S="}


def test_the_last_block_of_an_answer_in_text_is_the_text():
    found = answer(piece(text("a")), piece(text("", thoughtSignature="S="), finish="STOP"))
    assert kinds(found) == ["text"]


def test_ids_that_are_missing_or_the_same_are_made():
    found = answer(piece(call("Read"), call("Read", {}, "x"), call("Read", {}, "x"), finish="STOP"))
    assert len({block["id"] for block in found["content"]}) == 3


@pytest.mark.parametrize("prefix", ["", "default_api.", "default_api:"])
def test_names_come_back(prefix):
    out = translate(request(), TARGET).names.out
    found = answer(
        piece(call(prefix + out(LONG)), call(prefix + "Read"), call("Unknown"), finish="STOP")
    )
    assert [block["name"] for block in found["content"]] == [LONG, "Read", "Unknown"]


def test_without_parallel_calls_the_first_one_counts():
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    found = answer(piece(call("Read"), call("Write"), finish="STOP"), tool_choice=choice)
    assert [block["name"] for block in found["content"]] == ["Read"]


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("STOP", "end_turn"),
        ("MAX_TOKENS", "max_tokens"),
        ("SAFETY", "refusal"),
        ("RECITATION", "refusal"),
        ("PROHIBITED_CONTENT", "refusal"),
        ("BLOCKLIST", "refusal"),
        ("SPII", "refusal"),
        ("LANGUAGE", "refusal"),
        ("IMAGE_SAFETY", "refusal"),
    ],
)
def test_why_it_ended(reason, stop):
    assert answer(piece(text("a"), finish=reason))["stop_reason"] == stop


def test_a_full_window_is_told_as_such():
    target = Target("gemini-3-pro", TARGET.reasoning, Facts(context_tokens=150))
    found = reader(target)
    events = events_of([piece(text("a"), finish="MAX_TOKENS", usage=USAGE)], found)
    assert message_of(events)["stop_reason"] == "model_context_window_exceeded"


@pytest.mark.parametrize(
    ("pieces", "stop", "told"),
    [
        ([piece(finish="SAFETY")], "refusal", "SAFETY"),
        (
            [piece(finish="RECITATION", finishMessage="of a song")],
            "refusal",
            "RECITATION: of a song",
        ),
        ([blocked()], "refusal", "SAFETY"),
        ([blocked("PROHIBITED_CONTENT")], "refusal", "PROHIBITED_CONTENT"),
        ([piece(thought("hm"), finish="MAX_TOKENS")], "max_tokens", "thinking"),
        ([piece(finish="MAX_TOKENS")], "max_tokens", "thinking"),
    ],
)
def test_no_turn_is_without_a_word(pieces, stop, told):
    found = answer(*pieces)
    assert found["stop_reason"] == stop
    assert told in found["content"][-1]["text"]


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "STOP", "MISSING_THOUGHT_SIGNATURE"])  # fmt: skip
def test_an_answer_of_no_use_is_known_as_such(reason):
    found = reader()
    found.feed(piece(thought("hm"), finish=reason, finishMessage="print(default_api.Read("))
    assert found.useless
    with pytest.raises(BackendProtocolError, match=reason):
        found.end()


def test_a_broken_call_after_text_is_a_cut():
    found = reader()
    found.feed(piece(text("I will"), finish="MALFORMED_FUNCTION_CALL"))
    assert not found.useless
    with pytest.raises(StreamInterrupted):
        found.end()


def test_an_end_without_a_reason_is_an_interruption():
    found = reader()
    found.feed(piece(text("a")))
    with pytest.raises(StreamInterrupted):
        found.end()


def test_an_error_inside_a_stream_is_a_refusal():
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    with pytest.raises(BackendRefused) as raised:
        reader().feed(error)
    assert (raised.value.status, raised.value.message) == (503, "The model is overloaded.")


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"candidates": None, "usageMetadata": None},
        {"candidates": [None, {"content": None}, {"content": {"parts": [None, {}]}}]},
        {"candidates": [{"index": 1, "content": {"parts": [{"text": "another"}]}}]},
        {"usageMetadata": {"promptTokenCount": None, "candidatesTokenCount": "9"}},
        {"candidates": [{"content": {"parts": [{"text": None}, {"thoughtSignature": "x"}]}}]},
    ],
)
def test_odd_pieces_are_passed_over(odd):
    assert answer(odd, piece(text("a"), finish="STOP"))["content"] == [
        {"type": "text", "text": "a"}
    ]


def test_a_part_that_cannot_be_shown_is_named():
    found = answer(piece({"inlineData": {"mimeType": "image/png", "data": ""}}, finish="STOP"))
    assert "inlineData" in found["content"][0]["text"]


# ── any chunking, any cut ────────────────────────────────────────────────────────────────────

PIECES = [
    piece(thought("I thi")),
    piece(thought("nk ü", thoughtSignature="OWN=")),
    piece(text("Ok\r\n\r\ndata: {}")),
    piece(call("Read", {"path": "ä/b"}, "1", thoughtSignature=SIGNATURE)),
    piece(call("Write", {"n": [1, {"x": None}]}, "2"), finish="STOP", usage=USAGE),
]
RAW = sse(*PIECES)


def decoded(chunks):
    decoder = DataDecoder()
    return [found for chunk in chunks for found in decoder.feed(chunk)]


def same(events):
    """Without the random id of the message."""
    return [
        {**e.data, "message": {**e.data["message"], "id": ""}}
        if e.type == "message_start"
        else e.data
        for e in events
    ]


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(1, len(RAW) - 1), max_size=40), st.booleans())
def test_any_chunking_gives_the_same_events(places, unix):
    cuts = [0, *sorted(places), len(RAW)]
    chunks = [RAW[a:b] for a, b in pairwise(cuts)]
    assert decoded(chunks) == PIECES
    if unix:
        assert decoded([b": ping\n\n", *(c for c in [RAW.replace(b"\r\n", b"\n")])]) == PIECES


def test_a_stream_cut_at_any_byte_is_an_interruption_or_the_whole_answer():
    expected = same(events_of(PIECES))
    whole = 0
    for end in range(len(RAW) + 1):
        found = reader()
        events = [e for p in decoded([RAW[:end]]) for e in found.feed(p)]
        assert same(events) == expected[: len(events)]
        try:
            events += found.end()
        except StreamInterrupted:
            continue
        whole += 1
        assert same(events) == expected
    assert whole == 1


def test_one_byte_at_a_time():
    assert decoded([RAW[i : i + 1] for i in range(len(RAW))]) == PIECES


def test_comments_multiple_lines_and_a_mark_at_the_start_are_framing():
    raw = (
        b'\xef\xbb\xbfdata: {"a":\r\ndata: 1}\r\n\r\n: hello\n\nevent: x\nid: 1\n\ndata:{"b":2}\n\n'
    )
    assert decoded([raw]) == [{"a": 1}, {"b": 2}]


DEEP = b'data: {"a":' + b"[" * 300 + b"]" * 300 + b"}\n\n"


@pytest.mark.parametrize("raw", [b"data: {\r\n\r\n", b"data: [1]\n\n", b"data: \xff\n\n", DEEP])
def test_what_is_no_object_is_an_error(raw):
    with pytest.raises(BackendProtocolError):
        decoded([raw])


# ── there and back ───────────────────────────────────────────────────────────────────────────

marks = st.none() | st.sampled_from(["S1=", "S2+/==", SIGNATURE])
words = st.text("abc ü\n", min_size=1, max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


def signed(part, mark):
    return {**part, "thoughtSignature": mark} if mark else part


parts = st.one_of(
    st.builds(lambda t, m: signed(thought(t), m), words, marks),
    st.builds(text, words),
    st.builds(
        lambda n, a, m: signed(call(n, a), m),
        st.sampled_from(["Read", "Write"]),
        st.dictionaries(words, values, max_size=2),
        marks,
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(parts, min_size=1, max_size=6))
def test_what_gemini_says_comes_back_to_it(said):
    for index, part in enumerate(said):
        if "functionCall" in part:
            part["functionCall"]["id"] = f"fc.{index}"
    found = reader()
    events = [e for part in said for e in found.feed(piece(part))]
    found.feed(piece(finish="STOP"))
    if found.useless:
        return
    message = json.loads(json.dumps(message_of(events + found.end())))
    calls = [b for b in message["content"] if b["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": b["id"], "content": "ok"} for b in calls]
    turns = [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": [*results, {"type": "text", "text": "go on"}]}]  # fmt: skip
    contents = translate(request(*turns), TARGET).body["contents"]
    texts = [b["text"] for b in message["content"] if b["type"] == "text"]
    if len(contents) < 2:  # a turn with nothing but blanks would be refused
        assert not calls
        assert not "".join(texts).strip()
        return
    back = contents[1]["parts"]
    assert "".join(texts) == "".join(
        p["text"] for p in said if "text" in p and not p.get("thought")
    )
    assert "".join(p["text"] for p in back if "text" in p and not p.get("thought")) == "".join(
        text for text in texts if text.strip()
    )
    sent = [p for p in said if "functionCall" in p]
    again = [p for p in back if "functionCall" in p]
    if sent and "thoughtSignature" not in sent[0]:
        assert again[0].pop("thoughtSignature") == "skip_thought_signature_validator"
    assert again == sent


@pytest.mark.parametrize("call", [{"name": ""}, {"name": None}, {"args": {}}, {"name": 3}])
def test_a_call_that_names_no_tool_is_a_failure_of_the_server(call):
    pieces = [piece(text("Let me look.")), piece({"functionCall": call}, finish="STOP")]
    with pytest.raises(BackendProtocolError, match="without a name"):
        events_of(pieces)
