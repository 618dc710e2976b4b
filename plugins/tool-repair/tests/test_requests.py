"""Results that miss their call, and calls that miss their result."""

from __future__ import annotations

import time

from plugway_tool_repair._requests import NO_RESULT, mended


def call(*ids):
    content = [{"type": "tool_use", "id": i, "name": "Read", "input": {}} for i in ids]
    return {"role": "assistant", "content": content}


def results(*ids, text=""):
    content = [{"type": "tool_result", "tool_use_id": i, "content": "ok"} for i in ids]
    return {"role": "user", "content": content + ([{"type": "text", "text": text}] if text else [])}


def ids_of(message):
    return [b.get("tool_use_id", b["type"]) for b in message["content"]]


USER = {"role": "user", "content": "hi"}


def test_a_conversation_that_is_right_stays_the_same_object():
    messages = [USER, call("a", "b"), results("b", "a", text="go on"), call("c"), results("c")]
    assert mended(messages) == (messages, [])
    assert mended(messages)[0] is messages


def test_a_call_that_was_interrupted_gets_a_placeholder():
    found, notes = mended([USER, call("a", "b"), results("a", text="stop that")])
    assert ids_of(found[2]) == ["a", "b", "text"]
    assert found[2]["content"][1]["content"] == NO_RESULT
    assert len(notes) == 1


def test_a_call_before_plain_words_gets_a_placeholder():
    found, _ = mended([USER, call("a"), {"role": "user", "content": "never mind"}])
    assert ids_of(found[2]) == ["a", "text"]


def test_a_call_before_another_turn_or_at_the_end_gets_a_turn_of_its_own():
    found, notes = mended([USER, call("a"), call("b")])
    assert [m["role"] for m in found] == ["user", "assistant", "user", "assistant", "user"]
    assert len(notes) == 2


def test_orphan_and_second_results_are_left_out():
    found, notes = mended([USER, call("a"), results("a", "a", "x"), results("y")])
    assert ids_of(found[2]) == ["a"]
    assert ids_of(found[3]) == ["text"]
    assert len(notes) == 3


def test_results_come_before_the_text_of_their_turn():
    turn = {"role": "user", "content": [{"type": "text", "text": "x"}, *results("a")["content"]]}
    found, _ = mended([USER, call("a"), turn])
    assert ids_of(found[2]) == ["a", "text"]


def test_results_in_two_turns_of_the_user_are_right():
    messages = [USER, call("a", "b"), results("a"), results("b")]
    assert mended(messages)[0] is messages


def test_a_long_conversation_costs_less_than_a_fifth_of_a_millisecond():
    messages = [USER]
    for number in range(100):
        messages += [call(f"t{number}"), results(f"t{number}", text="x" * 1000)]
    best = min(timed(messages) for _ in range(20))
    assert best < 0.2e-3


def timed(messages):
    began = time.perf_counter()
    mended(messages)
    return time.perf_counter() - began
