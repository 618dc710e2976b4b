"""Answers of Chat Completions as events: every order in which servers are known to tell them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import BackendProtocolError, BackendRefused, StreamInterrupted
from plugway_anthropic_wire import Payloads
from plugway_capabilities import Facts
from plugway_openai_wire.chat import ChatReader, Quirks, Target, request_of
from plugway_openai_wire.testing import chat_chunks, chat_message, chat_stream, chunk, tool_delta
from plugway_translation import Reasoning

MINE = Reasoning("up", "m")


def reader(facts=None, **fields):
    body = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in fields.pop("tools", ())]
    target = Target(MINE, Quirks(), facts or Facts())
    return ChatReader(request_of({**body, "tools": tools, **fields}, target), "m")


def collected(events):
    """The message that events amount to, each block closed before the next begins."""
    message, parts, open_ = None, [], None
    for item in events:
        data = item.data
        match item.type:
            case "message_start":
                assert message is None
                message = {**data["message"], "content": []}
            case "content_block_start":
                assert open_ is None
                assert data["index"] == len(message["content"])
                open_, parts = dict(data["content_block"]), []
            case "content_block_delta":
                delta = data["delta"]
                kind = delta["type"]
                if kind == "input_json_delta":
                    parts.append(delta["partial_json"])
                elif kind == "signature_delta":
                    open_["signature"] = delta["signature"]
                else:
                    name = kind.removesuffix("_delta")
                    open_[name] += delta[name]
            case "content_block_stop":
                if open_["type"] == "tool_use":
                    open_["input"] = json.loads("".join(parts))
                message["content"].append(open_)
                open_ = None
            case "message_delta":
                assert open_ is None
                message |= data["delta"]
                message["usage"] = data["usage"]
    return message


def read(chunks, made=None, **fields):
    made = made or reader(**fields)
    events = [item for data in chunks for item in made.feed(data)]
    return collected([*events, *made.end()])


def told(message):
    """The content in short."""
    short = []
    for block in message["content"]:
        match block["type"]:
            case "text":
                short.append(block["text"])
            case "thinking":
                short.append(("thinking", block["thinking"]))
            case "tool_use":
                short.append((block["id"], block["name"], block["input"]))
            case other:
                short.append(other)
    return short


def test_thinking_text_and_calls_become_blocks_in_that_order():
    calls = [("call_1", "Read", '{"path": "a"}'), ("call_2", "Grep", "{}")]
    message = read(chat_chunks("On it.", tool_calls=calls, thinking="Let me see."))
    assert told(message) == [
        ("thinking", "Let me see."),
        "On it.",
        ("call_1", "Read", {"path": "a"}),
        ("call_2", "Grep", {}),
    ]
    assert message["stop_reason"] == "tool_use"
    assert message["usage"] == {
        "input_tokens": 12,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
    }


def test_calls_that_come_side_by_side_are_told_one_after_the_other():
    a, b = '{"path": "a", "n": {"x": 1}}', '{"path": "b"}'
    chunks = [
        chunk(tool_delta(0, id="call_a", name="Read")),
        chunk(tool_delta(1, id="call_b", name="Read")),
        *(chunk(tool_delta(i % 2, piece)) for i, piece in interleaved(a, b)),
        chunk({}, "tool_calls"),
    ]
    assert told(read(chunks)) == [
        ("call_a", "Read", json.loads(a)),
        ("call_b", "Read", json.loads(b)),
    ]


def interleaved(*texts):
    for at in range(max(map(len, texts))):
        for index, text in enumerate(texts):
            if at < len(text):
                yield index, text[at]


def test_a_call_that_is_complete_is_told_before_the_next_ends():
    made = reader()
    made.feed(chunk(tool_delta(0, '{"a"', id="call_a", name="Read")))
    made.feed(chunk(tool_delta(0, ": 1}")))
    events = made.feed(chunk(tool_delta(1, "", id="call_b", name="Grep")))
    assert [item.type for item in events] == ["content_block_delta", "content_block_stop"]


def test_a_call_that_came_in_one_piece_may_still_grow_after_the_next_has_begun():
    made = reader()
    pieces = [
        tool_delta(0, '{"a": 1}', id="call_a", name="Read"),
        tool_delta(1, "{}", id="call_b", name="Grep"),
        tool_delta(0, '{"a": 1, "b": 2}'),
    ]
    fed = [event for piece in pieces for event in made.feed(chunk(piece))]
    events = [*fed, *made.feed(chunk({}, "tool_calls")), *made.end()]
    inputs = [block["input"] for block in collected(events)["content"]]
    assert inputs == [{"a": 1, "b": 2}, {}]


@pytest.mark.parametrize(
    "pieces",
    [
        [{"index": 0, "id": "call_1"}, {"index": 0, "function": {"name": "Read"}}],
        [{"index": 0, "function": {"name": "Read"}}, {"index": 0, "id": "call_1"}],
        [
            {"index": 0, "id": "call_1", "function": {"name": None, "arguments": None}},
            {"index": 0, "id": None, "function": {"name": "Read", "arguments": ""}},
        ],
        [{"id": "call_1", "function": {"name": "Read"}}],
        [{"index": 0, "id": "call_1", "function": {"name": "Read", "arguments": "null"}}],
        [{"index": 0, "id": "call_1", "function": {"name": "Read", "arguments": " "}}],
        [{"index": 0, "id": "call_1", "function": {"name": "Read", "arguments": '"{}"'}}],
        [{"index": 0, "id": "call_1", "function": {"name": "Read", "arguments": {}}}],
    ],
    ids=[
        "id before name",
        "name before id",
        "null members",
        "no index",
        "null as arguments",
        "blank arguments",
        "a text in the text",
        "an object instead of its text",
    ],
)
def test_a_call_without_arguments_has_an_empty_object(pieces):
    chunks = [chunk({"tool_calls": [piece]}) for piece in pieces]
    assert told(read([*chunks, chunk({}, "tool_calls")])) == [("call_1", "Read", {})]


def test_the_name_may_come_last():
    chunks = [
        chunk({"tool_calls": [{"index": 0, "id": "call_1"}]}),
        chunk(tool_delta(0, '{"a"')),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "Read", "arguments": ": 1}"}}]}),
        chunk({}, "tool_calls"),
    ]
    assert told(read(chunks)) == [("call_1", "Read", {"a": 1})]


def test_calls_that_all_have_the_number_0_are_known_by_their_ids():
    chunks = [
        chunk(tool_delta(0, '{"a": 1}', id="call_1", name="Read")),
        chunk(tool_delta(0, '{"a": 2}', id="call_2", name="Read")),
        chunk({}, "stop"),
    ]
    message = read(chunks)
    assert told(message) == [("call_1", "Read", {"a": 1}), ("call_2", "Read", {"a": 2})]
    assert message["stop_reason"] == "tool_use"


def test_a_call_in_the_old_form_is_a_call():
    chunks = [
        chunk({"function_call": {"name": "Read", "arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ": 1}"}}),
        chunk({}, "function_call"),
    ]
    ((tool_id, name, given),) = told(read(chunks))
    assert (name, given) == ("Read", {"a": 1})
    assert tool_id.startswith("toolu_")


def test_ids_and_names_are_those_that_the_client_knows():
    long = "mcp__a_server_with_a_very_long_name__and_a_tool_with_a_very_long_name_too"
    made = reader(tools=[long])
    short = made._call.names.out(long)
    chunks = [chunk(tool_delta(0, "{}", id="functions.x:0", name=short)), chunk({}, "tool_calls")]
    ((tool_id, name, _),) = told(read(chunks, made))
    assert name == long
    assert tool_id == "pw_functions_2ex_3a0"
    assert made._call.target.ids.out(tool_id) == "functions.x:0"


def test_text_after_a_call_follows_the_calls_and_blanks_are_left_out():
    chunks = [
        chunk(tool_delta(0, '{"a"', id="call_1", name="Read")),
        chunk({"content": "\n"}),
        chunk({"content": "Reading."}),
        chunk(tool_delta(0, ": 1}")),
        chunk({"content": ""}, "tool_calls"),
    ]
    assert told(read(chunks)) == [("call_1", "Read", {"a": 1}), "Reading."]


def test_only_the_first_call_is_told_where_one_was_asked_for():
    choice = {"type": "any", "disable_parallel_tool_use": True}
    calls = [("call_1", "Read", "{}"), ("call_2", "Read", "{}")]
    made = reader(tools=["Read"], tool_choice=choice)
    assert told(read(chat_chunks("", tool_calls=calls), made)) == [("call_1", "Read", {})]


# ── thinking ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thinking_says_where_it_stood(field):
    block = read(chat_chunks("x", thinking="Hm hm.", field=field))["content"][0]
    opened = MINE.open(block)
    assert (opened.text, opened.state) == ("Hm hm.", {"in": field})


def test_details_of_thinking_are_put_together_and_kept():
    pieces = [
        {"type": "reasoning.text", "index": 0, "text": "Let ", "format": "f"},
        {"type": "reasoning.text", "index": 0, "text": "me.", "signature": None},
        {"type": "reasoning.text", "index": 0, "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "data": "opaque"},
    ]
    chunks = [
        chunk({"reasoning": piece.get("text"), "reasoning_details": [piece]}) for piece in pieces
    ]
    message = read([*chunks, *chat_chunks("Done.")])
    assert told(message) == [("thinking", "Let me."), "Done."]
    state = MINE.open(message["content"][0]).state
    assert state["details"] == [
        {"type": "reasoning.text", "index": 0, "text": None, "format": "f", "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "data": "opaque"},
    ]


def test_thinking_that_cannot_be_read_is_carried_before_the_calls():
    detail = {"type": "reasoning.encrypted", "index": 0, "data": "opaque", "id": "call_1"}
    delta = {**tool_delta(0, "{}", id="call_1", name="Read"), "reasoning_details": [detail]}
    message = read([chunk(delta), chunk({}, "tool_calls")])
    assert told(message) == ["redacted_thinking", ("call_1", "Read", {})]
    assert MINE.open(message["content"][0]).state["details"] == [detail]


def test_thinking_in_parts_of_the_content_is_thinking():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    chunks = [
        chunk({"content": [thought]}),
        chunk({"content": [{"type": "text", "text": "Yes."}]}),
        chunk({}, "stop"),
    ]
    message = read(chunks)
    assert told(message) == [("thinking", "Hm."), "Yes."]
    assert MINE.open(message["content"][0]).state == {"in": "content"}


# ── why it stopped, and what it cost ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("tool_calls", "end_turn"),
        ("model_length", "model_context_window_exceeded"),
        ("eos_token", "end_turn"),
        ("never heard of", "end_turn"),
    ],
)
def test_every_reason_has_its_word(finish, reason):
    assert read(chat_chunks(finish=finish))["stop_reason"] == reason


def test_a_refusal_is_told_in_its_words():
    message = read([chunk({"refusal": "I will not."}), chunk({}, "stop")])
    assert (told(message), message["stop_reason"]) == (["I will not."], "refusal")
    assert message["stop_details"]["explanation"] == "I will not."


def test_a_window_that_is_full_is_told_as_such():
    facts = Facts(context_tokens=17)
    message = read(chat_chunks(finish="length"), reader(facts))
    assert message["stop_reason"] == "model_context_window_exceeded"


def test_the_sequence_that_stopped_is_told_where_the_server_says():
    chunks = chat_chunks(finish="stop")
    chunks[-2]["choices"][0]["stop_reason"] = "END"
    message = read(chunks, stop_sequences=["END"])
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")
    assert read(chunks, stop_sequences=["other"])["stop_reason"] == "end_turn"


def test_the_answer_is_cut_at_sequences_that_the_server_was_not_told():
    stops = ["1", "2", "3", "4", "STOP"]
    chunks = [chunk({"content": c}) for c in "one STaSTOP two"]
    message = read([*chunks, chunk({}, "stop")], stop_sequences=stops)
    assert told(message) == ["one STa"]
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "STOP")
    assert message["usage"]["output_tokens"] > 0


def test_no_answer_was_asked_for_and_none_is_told():
    message = read(chat_chunks("Hi there."), max_tokens=0)
    assert (message["content"], message["usage"]["input_tokens"]) == ([], 12)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": None},
        {"prompt_tokens": 100, "completion_tokens": 7, "prompt_cache_hit_tokens": 60},
        {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        },
    ],
)
def test_usage_adds_up_to_the_prompt(usage):
    found = read(chat_chunks(usage=usage))["usage"]
    parts = [value for name, value in found.items() if name != "output_tokens"]
    assert (sum(parts), found["output_tokens"]) == (100, 7)


def test_tokens_of_thinking_are_told():
    usage = {"prompt_tokens": 9, "completion_tokens": 8}
    usage["completion_tokens_details"] = {"reasoning_tokens": 6}
    found = read(chat_chunks(usage=usage))["usage"]
    assert found["output_tokens_details"] == {"thinking_tokens": 6}


def test_usage_in_the_last_chunk_or_a_member_of_its_own_is_found():
    last = chat_chunks(usage=None)
    last[-1]["usage"] = {"prompt_tokens": 9, "completion_tokens": 3}
    assert read(last)["usage"]["input_tokens"] == 9
    groq = chat_chunks(usage=None)
    groq[-1]["x_groq"] = {"usage": {"prompt_tokens": 8, "completion_tokens": 3}}
    assert read(groq)["usage"]["input_tokens"] == 8


def test_usage_that_nobody_told_is_estimated_and_never_zero():
    message = read(chat_chunks("word " * 40, usage=None))
    assert message["usage"]["input_tokens"] > 0
    assert 40 <= message["usage"]["output_tokens"] <= 60


# ── failures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, 429),
        ({"error": {"code": "context_length_exceeded", "message": "too long"}}, 400),
        ({"error": {"message": "odd", "type": "server_error"}}, 500),
        ({"error": "just words"}, 502),
        ({"object": "error", "message": "engine died", "code": 500}, 500),
        ({"error": {"code": "502", "message": "x"}, "choices": []}, 502),
    ],
)
def test_a_failure_in_the_stream_keeps_its_words_and_status(data, status):
    made = reader()
    made.feed(chunk({"content": "Hel"}))
    with pytest.raises(BackendRefused) as failure:
        made.feed(data)
    assert failure.value.status == status
    assert json.loads(failure.value.body)["error"]["message"]


@pytest.mark.parametrize("finish", ["error", "abort", "insufficient_system_resource"])
def test_a_reason_that_is_a_failure_is_no_end(finish):
    with pytest.raises(StreamInterrupted, match=finish):
        read(chat_chunks(finish=finish))


def test_an_end_without_a_reason_is_an_interruption():
    made = reader()
    for data in chat_chunks()[:-2]:
        made.feed(data)
    with pytest.raises(StreamInterrupted, match="finish reason"):
        made.end()


def test_nothing_at_all_is_a_failure():
    with pytest.raises(BackendProtocolError, match="its reply is empty"):
        read(chat_chunks(""))
    with pytest.raises(BackendProtocolError, match="has no message"):
        reader().whole({"choices": []})


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"choices": None},
        {"choices": [None]},
        {"choices": [{"delta": None}]},
        {"choices": [{"index": 1, "delta": {"content": "another choice"}}]},
        {"choices": [{"index": 0, "delta": {"content": 5, "tool_calls": [None, {}]}}]},
        {"choices": [{"index": 0, "delta": {"reasoning": None, "reasoning_details": "x"}}]},
        {"usage": None, "choices": []},
    ],
)
def test_chunks_that_say_nothing_are_passed_over(odd):
    chunks = chat_chunks("Hello there.")
    assert told(read([odd, *chunks[:2], odd, *chunks[2:]])) == ["Hello there."]


# ── whole or streamed, however it is cut ─────────────────────────────────────────────────────────


def test_a_whole_answer_says_the_same_as_a_streamed_one():
    calls = [("call_1", "Read", '{"path": "a"}')]
    answer = chat_message("On it.", tool_calls=calls, reasoning_content="Hm.")
    whole = collected(reader().whole(answer))
    streamed = read(chat_chunks("On it.", tool_calls=calls, thinking="Hm."))
    assert {**whole, "id": 0} == {**streamed, "id": 0}


def test_a_call_that_the_limit_cut_off_is_left_out_of_a_whole_answer():
    calls = [("call_1", "Read", '{"path": "a"}'), ("call_2", "Read", '{"pa')]
    message = collected(reader().whole(chat_message("On it.", tool_calls=calls, finish="length")))
    assert told(message) == ["On it.", ("call_1", "Read", {"path": "a"})]
    assert message["stop_reason"] == "max_tokens"
    half = chat_message(None, tool_calls=calls[1:], finish="length")
    (notice,) = collected(reader().whole(half))["content"]
    assert notice["text"].startswith("[The call of `Read` was cut off by the output limit")


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
arguments = st.dictionaries(words, st.none() | st.integers(-9, 9) | words, max_size=3)
answers = st.fixed_dictionaries(
    {
        "text": words.filter(str.strip),
        "thinking": words,
        "tool_calls": st.lists(
            st.tuples(st.uuids().map(str), st.just("Read"), arguments.map(json.dumps)), max_size=3
        ),
    }
)


@settings(max_examples=60, deadline=None)
@given(answers, st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_chopping_gives_the_same_events(answer, sizes):
    raw = b"".join(chat_stream(**answer))
    whole = payload_events([raw])
    pieces, at, turn = [], 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        pieces.append(raw[at : at + size])
        at, turn = at + size, turn + 1
    assert payload_events(pieces) == whole
    assert payload_events([raw.replace(b"\n", b"\r\n")]) == whole
    message = collected([item for item in whole if item is not None])
    assert [b["text"] for b in message["content"] if b["type"] == "text"] == [answer["text"]]
    inputs = [b["input"] for b in message["content"] if b["type"] == "tool_use"]
    assert inputs == [json.loads(a) for _, _, a in answer["tool_calls"]]


def payload_events(pieces):
    payloads, made, events = Payloads(), reader(), []
    for piece in pieces:
        for payload in payloads.feed(piece):
            events += made.end() if payload == b"[DONE]" else made.feed(json.loads(payload))
    for item in events:
        if item.type == "message_start":
            item.data["message"]["id"] = "msg"
    return events


def test_what_comes_for_a_call_that_is_whole_is_passed_over():
    chunks = [
        chunk(tool_delta(0, '{"a": 1}', id="c1", name="f")),
        chunk(tool_delta(1, '{"b":', id="c2", name="f")),
        chunk(tool_delta(0, '{"a": 1}')),
        chunk(tool_delta(1, " 2}")),
        chunk({}, "tool_calls"),
    ]
    assert [found[2] for found in told(read(chunks, tools=["f"]))] == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("index", [None, {"x": 0}, [0], 1.5, "0"])
def test_details_of_thinking_are_taken_whatever_their_number_is(index):
    detail = {"type": "reasoning.text", "text": "Hm.", "index": index}
    chunks = [chunk({"reasoning_details": [detail]}), *chat_chunks("Hello.")[1:]]
    assert told(read(chunks)) == [("thinking", "Hm."), "Hello."]
