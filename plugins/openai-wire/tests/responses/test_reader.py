"""Answers of the Responses API as the Messages API's: streamed, whole, cut off, failed."""

import random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_answers import (
    CITED,
    USAGE,
    call,
    message,
    message_of,
    read,
    reader,
    reasoning,
    response,
    stream,
)
from responses_strategies import ANSWERS

from plugway import BackendProtocolError, BackendRefused, StreamInterrupted
from plugway_translation import ToolNames
from plugway_wire.emitter import Order

pytestmark = pytest.mark.timeout(60)


def both(answer, **more):
    """The message of an answer, streamed and whole, which must be the same."""
    streamed = message_of(read(stream(answer), **more))
    whole = message_of(reader(**more).whole(answer))
    assert streamed == whole
    return streamed


def test_an_answer_is_told_with_reasoning_text_calls_and_usage():
    answer = response(
        reasoning("First.", "Then."),
        message("It is sunny."),
        call("get_weather", '{"city":"Paris"}', "call_a"),
        call("get_time", "{}", "call_b", id="fc_2"),
    )
    told = both(answer)
    thinking, text, weather, time = told["content"]
    assert thinking["thinking"] == "First.\n\nThen."
    assert thinking["signature"].startswith("plugway.1.")
    assert text == {"type": "text", "text": "It is sunny."}
    assert weather["input"] == {"city": "Paris"}
    assert (weather["id"], time["id"], time["input"]) == ("call_a", "call_b", {})
    assert (told["id"], told["model"]) == ("msg_0a1", "the-model")
    assert (told["stop_reason"], told["stop_sequence"]) == ("tool_use", None)
    assert told["usage"] == {
        "input_tokens": 30,
        "cache_creation_input_tokens": 10,
        "cache_read_input_tokens": 60,
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 20},
    }


def test_reasoning_without_a_summary_is_carried_unread():
    told = both(response(reasoning(), message("Hi")))
    assert told["content"][0]["type"] == "redacted_thinking"
    assert told["content"][0]["data"].startswith("plugway.1.")


def test_reasoning_in_the_clear_is_told_too():
    told = both(response(reasoning(encrypted="", content=("I think.",)), message("Hi")))
    assert told["content"][0]["thinking"] == "I think."


def test_reasoning_that_comes_only_whole_is_a_delta_as_clients_expect_it():
    events = reader().whole(response(reasoning("Because."), message("Hi")))
    started = next(e.data["content_block"] for e in events if e.type == "content_block_start")
    assert (started["type"], started["thinking"]) == ("thinking", "")
    assert "Because." in [e.data["delta"].get("thinking") for e in events if "delta" in e.data]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (response(message("Hi")), "end_turn"),
        (response(call("f", "{}")), "tool_use"),
        (
            response(
                message("Hi"),
                status="incomplete",
                incomplete_details={"reason": "max_output_tokens"},
            ),
            "max_tokens",
        ),
        (
            response(
                message("Hi"),
                status="incomplete",
                incomplete_details={"reason": "content_filter"},
            ),
            "refusal",
        ),
        (
            response(
                message("Hi"), status="incomplete", incomplete_details={"reason": "never heard of"}
            ),
            "max_tokens",
        ),
        (
            response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "max_tokens",
        ),
    ],
)
def test_the_reason_for_stopping_is_told(given, reason):
    assert (both(given))["stop_reason"] == reason


def test_a_refusal_is_told_in_its_words_and_as_one():
    part = {"type": "refusal", "refusal": "I can't help with that."}
    told = both(response(message(part)))
    assert told["content"] == [{"type": "text", "text": "I can't help with that."}]
    assert told["stop_reason"] == "refusal"
    explained = {"type": "refusal", "category": None, "explanation": "I can't help with that."}
    assert told["stop_details"] == explained


def test_sources_in_the_web_become_citations_of_their_block():
    told = both(response(message("First."), message(CITED, id="msg_2")))
    assert "citations" not in told["content"][0]
    (citation,) = told["content"][1]["citations"]
    assert citation["url"] == "https://weather.example.com"
    assert citation["cited_text"] == "It rains."


def test_a_search_is_told_as_anthropic_tells_one():
    action = {
        "type": "search",
        "query": "weather paris",
        "sources": [{"type": "url", "url": "https://weather.example.com/paris"}],
    }
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    opened = {**searched, "id": "ws_2", "action": {"type": "open_page", "url": "https://x.example"}}
    failed = {**searched, "id": "ws_3", "status": "failed"}
    told = both(response(searched, opened, failed, message(CITED)))
    use, result, _, error, text = told["content"]
    assert (use["type"], use["input"]) == ("server_tool_use", {"query": "weather paris"})
    assert result["tool_use_id"] == use["id"]
    assert result["content"][0]["url"] == "https://weather.example.com/paris"
    assert error["content"]["error_code"] == "unavailable"
    assert text["citations"][0]["title"] == "Weather"
    assert told["usage"]["server_tool_use"] == {"web_search_requests": 2, "web_fetch_requests": 0}
    assert told["stop_reason"] == "end_turn"


def test_a_call_that_was_cut_off_is_not_told_whole():
    answer = response(
        call("f", '{"a": [1, 2', status="incomplete"),
        status="incomplete",
        incomplete_details={"reason": "max_output_tokens"},
    )
    told = message_of(reader().whole(answer))
    assert [block["type"] for block in told["content"]] == ["text"]
    assert "`f` was cut off by the output limit" in told["content"][0]["text"]
    assert told["stop_reason"] == "max_tokens"


def test_names_and_ids_come_back_as_the_client_knows_them():
    long = "mcp__" + "a" * 80
    short = ToolNames([long]).out(long)
    told = both(response(call(short, "{}", "call:1|x")), names=[long])
    assert told["content"][0]["name"] == long
    assert told["content"][0]["id"].startswith("pw_")


def test_nothing_at_all_is_a_failure():
    with pytest.raises(BackendProtocolError, match="its reply is empty"):
        read(stream(response()))


def test_usage_that_is_missing_is_estimated():
    told = both(response(message("a" * 400), usage=None), estimate=1000)
    assert told["usage"] == {"input_tokens": 1000, "output_tokens": 100}


@pytest.mark.parametrize(
    "odd", [{"input_tokens": None}, {"input_tokens": -5, "output_tokens": "9"}]
)
def test_odd_usage_does_no_harm(odd):
    told = both(response(message("Hi"), usage=odd))
    assert told["usage"]["input_tokens"] == 0


# ── streams of servers that are less tidy ────────────────────────────────────────────────────


def test_interleaved_items_are_told_one_after_the_other():
    answer = response(
        call("a", '{"n":1}', "c1"), call("b", '{"n":2}', "c2", id="fc_2"), message("x", id="m")
    )
    events = list(stream(answer))
    head, body, tail = events[:2], events[2:-1], events[-1:]
    lanes = [[e for e in body if e["output_index"] == index] for index in range(3)]
    chance = random.Random(7)
    for _ in range(30):
        left, mixed = [list(lane) for lane in lanes], []
        while any(left):
            mixed.append(chance.choice([lane for lane in left if lane]).pop(0))
        told = message_of(read([*head, *mixed, *tail]))
        inputs = [block.get("input", block.get("text")) for block in told["content"]]
        assert sorted(map(str, inputs)) == ["x", "{'n': 1}", "{'n': 2}"]


@pytest.mark.parametrize("drop", ["output_index", "item_id", "content_index", "sequence_number"])
def test_members_that_are_left_out_are_found_out(drop):
    answer = response(reasoning("Why."), message("Hi"), call("f", '{"a":1}'))
    bare = [{key: value for key, value in data.items() if key != drop} for data in stream(answer)]
    assert message_of(read(bare)) == message_of(read(stream(answer)))


@pytest.mark.parametrize(
    "gone",
    [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    ],
)
def test_events_that_are_left_out_lose_no_content(gone):
    answer = response(message("Hello"), call("f", '{"a":1}'), message("Bye", id="msg_2"))
    if gone == "response.output_item.added":
        answer["output"].pop(1)  # without a name no call can be told before it is done
    events = [data for data in stream(answer) if data["type"] != gone]
    told = message_of(read(events))
    text = "".join(block.get("text", "") for block in told["content"])
    assert text == "HelloBye"
    assert [b["input"] for b in told["content"] if b["type"] == "tool_use"] in ([{"a": 1}], [])


def test_arguments_before_the_name_wait_for_it():
    events = list(stream(response(call("f", '{"a":1}'))))
    events = [d for d in events if d["type"] != "response.output_item.added"]
    told = message_of(read(events))
    assert (told["content"][0]["name"], told["content"][0]["input"]) == ("f", {"a": 1})


def test_only_the_last_event_is_enough():
    answer = response(reasoning("Why."), message("Hi"), call("f", ""))
    last = list(stream(answer))[-1:]
    assert message_of(read(last)) == message_of(read(stream(answer)))


@pytest.mark.parametrize("nothing", [None, "", 5])
def test_deltas_that_are_none_are_passed_over(nothing):
    answer = response(message("Hi"), call("f", "{}"))
    events = []
    for data in stream(answer):
        events.append(data)
        if data["type"].endswith(".delta"):
            events.append({**data, "delta": nothing})
    assert message_of(read(events)) == message_of(read(stream(answer)))


def test_unknown_events_and_items_are_passed_over():
    other = {"type": "image_generation_call", "id": "ig_1", "status": "completed"}
    events = list(stream(response(message("Hi"))))
    events.insert(2, {"type": "response.web_search_call.searching", "output_index": 0})
    events.insert(2, {"type": "keepalive", "sequence_number": 1})
    events.insert(2, {"type": "response.output_item.done", "output_index": 7, "item": other})
    assert (message_of(read(events)))["content"] == [{"type": "text", "text": "Hi"}]


# ── failures ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        (
            {"type": "error", "code": "server_error", "message": "Oops", "param": None},
            500,
            "Oops",
        ),
        (
            {
                "type": "response.failed",
                "response": response(
                    status="failed",
                    error={"code": "rate_limit_exceeded", "message": "Please try again in 1.5s."},
                ),
            },
            429,
            "try again in 1.5s",
        ),
        (
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                    "message": "Your input exceeds the context window of this model.",
                },
            },
            400,
            "exceeds the context window",
        ),
        ({"type": "error", "code": "insufficient_quota", "message": "No money"}, 429, "No money"),
        ({"type": "error", "code": "server_is_overloaded", "message": "Busy"}, 503, "Busy"),
        ({"type": "error", "code": "invalid_image_format", "message": "No image"}, 400, "No image"),
        ({"type": "error", "code": "bio_policy", "message": "No"}, 403, "No"),
        ({"type": "error", "message": "What?"}, 502, "What"),
        ({"type": "response.failed", "response": {}}, 502, "without a reason"),
    ],
)
def test_a_failure_inside_the_stream_keeps_its_words_and_gets_its_status(data, status, told):
    made = reader()
    made.feed({"type": "response.created", "response": response()})
    with pytest.raises(BackendRefused, match=told) as caught:
        made.feed(data)
    assert caught.value.status == status
    assert orjson.loads(caught.value.body)["error"]["message"]


def test_the_wait_that_a_limit_asks_for_is_read():
    failed = {"type": "error", "code": "rate_limit_exceeded", "message": "try again in 250ms"}
    with pytest.raises(BackendRefused) as caught:
        reader().feed(failed)
    assert caught.value.retry_after == 0.25


def test_a_whole_answer_that_failed_is_a_failure():
    failed = response(status="failed", error={"code": "server_error", "message": "Oops"})
    with pytest.raises(BackendRefused, match="Oops"):
        reader().whole(failed)


# ── stop sequences ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("chop", [1, 2, 3, 100])
def test_the_answer_is_cut_at_a_stop_sequence(chop):
    answer = response(message("One. Two.END Three."), message("Four", id="m2"))
    made = reader(stops=["STOP", ".END", "END"])
    events = [told for data in stream(answer, chop) for told in made.feed(data)]
    told = message_of(events)
    assert told["content"] == [{"type": "text", "text": "One. Two"}]
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", ".END")
    assert made.ended


@given(text=st.text("ab.\n", max_size=30), sizes=st.lists(st.integers(1, 4), min_size=1))
@settings(max_examples=150, deadline=None)
def test_a_cut_is_where_the_text_has_it_however_it_comes(text, sizes):
    stops = ("ab.", "\n\n", "bb")
    found = min(((text.find(s), s) for s in stops if s in text), default=None)
    made, at, n = reader(stops=stops), 0, 0
    told = []
    made.feed({"type": "response.created", "response": {}})
    while at < len(text) and not made.ended:
        piece = text[at : at + sizes[n % len(sizes)]]
        at, n = at + len(piece), n + 1
        delta = {"type": "response.output_text.delta", "output_index": 0, "delta": piece}
        told += made.feed(delta)
    if not made.ended:
        item = {"type": "response.output_item.done", "output_index": 0, "item": message(text)}
        told += made.feed(item)
    said = "".join(e.data["delta"].get("text", "") for e in told if e.type == "content_block_delta")
    assert said == (text[: found[0]] if found else text)
    assert made.ended is bool(found)


# ── properties ───────────────────────────────────────────────────────────────────────────────


@given(answer=ANSWERS, chop=st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_streamed_or_whole_any_chopping_gives_the_same_message(answer, chop):
    streamed = message_of(read(stream(answer, chop)))
    assert streamed == message_of(reader().whole(answer))


@given(answer=ANSWERS, cut=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_a_stream_cut_anywhere_never_ends_as_if_it_were_whole(answer, cut):
    events = list(stream(answer))[:-1]
    cut = round(cut * len(events))
    order = Order()
    for item in read(events[:cut]):
        order.check(item)
    assert not order.ended


def test_the_end_of_a_body_before_the_end_of_the_answer_is_an_interruption():
    made = reader()
    made.feed({"type": "response.created", "response": {}})
    with pytest.raises(StreamInterrupted, match="before"):
        made.end()
    whole = reader()
    whole.whole(response(message("Hi")))
    assert whole.end() == []


def test_usage_adds_up():
    told = read(stream(response(message("Hi"))))[-2].data["usage"]
    parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert sum(told[part] for part in parts) == USAGE["input_tokens"]


@pytest.mark.parametrize("kind", ["response.output_text.delta", "response.content_part.added"])
def test_an_event_of_another_kind_does_not_end_a_call(kind):
    events = list(stream(response(call("f", '{"a": 1}'))))
    at = next(n for n, data in enumerate(events) if "arguments.delta" in data["type"])
    events.insert(at + 1, {"type": kind, "output_index": 0, "delta": "x"})
    assert message_of(read(events))["content"][0]["input"] == {"a": 1}


def test_what_comes_for_a_call_after_its_end_is_passed_over_also_where_it_waited():
    events = list(stream(response(message("Hi"), call("f", '{"a": 1}', id="fc"))))
    done = next(n for n, d in enumerate(events) if d["type"].endswith("item.done"))
    text_done = events.pop(done)
    events.insert(
        -1, {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "x"}
    )
    events.insert(-1, text_done)
    assert message_of(read(events))["content"][1]["input"] == {"a": 1}


def test_arguments_that_end_as_others_than_were_told_stay_as_they_were_told():
    events = list(stream(response(call("f", '{"a": 1}'))))
    for data in events:
        if data["type"] == "response.function_call_arguments.done":
            data["arguments"] = '{"other": "and longer"}'
    assert message_of(read(events))["content"][0]["input"] == {"a": 1}


@pytest.mark.parametrize("url", [None, 5, ["u"]])
def test_a_source_without_an_address_is_no_citation(url):
    source = {**CITED["annotations"][0], "url": url}
    told = both(response(message({**CITED, "annotations": [source]})))
    assert "citations" not in told["content"][0]


def test_an_address_that_is_none_is_its_own_title():
    action = {"type": "search", "query": "q", "sources": [{"url": "http://["}]}
    search = {"type": "web_search_call", "id": "ws", "status": "completed", "action": action}
    told = both(response(search, message("Hi")))
    assert told["content"][1]["content"][0]["title"] == "http://["
