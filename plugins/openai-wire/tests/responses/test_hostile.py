"""Events and requests that are wrong in any member: a failure at most, never a defect of ours."""

import contextlib
import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_answers import CITED, REASONING, call, message, reader, reasoning, response, stream

from plugway import BackendError, InvalidRequest
from plugway_capabilities import Facts
from plugway_openai_wire.responses import Target, request_of
from plugway_wire.emitter import Order

pytestmark = pytest.mark.timeout(60)

SEARCH = {"type": "web_search_call", "id": "ws", "status": "completed", "action": {"query": "x"}}
ANSWER = response(
    reasoning("A.", "B."), message("Hi", CITED), SEARCH, call("f", '{"a":1}'), message("x", id="m2")
)
ODD = st.sampled_from([None, 0, -1, 7, 1e300, True, "", "x", "response.completed", [], [None], {}])


def places(value, path=()):
    """The path of every member."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in members:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def changed(value, path, new):
    value = copy.deepcopy(value)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = new
    return value


EVENTS = list(stream(ANSWER))
PLACES = list(places(EVENTS))
BODY = {
    "model": "gpt-5",
    "max_tokens": 99,
    "stream": True,
    "system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": REASONING.sign({"id": "rs"})},
                {"type": "text", "text": "I look.", "citations": []},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "is_error": True,
                    "content": [
                        {"type": "text", "text": "ok"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"},
                        },
                    ],
                },
                {
                    "type": "document",
                    "title": "T",
                    "context": "C",
                    "source": {"type": "content", "content": [{"type": "text", "text": "d"}]},
                },
            ],
        },
    ],
    "tools": [
        {"name": "f", "description": "d", "strict": True, "input_schema": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    ],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["END"],
    "service_tier": "auto",
    "temperature": 0.5,
}
IN_BODY = list(places(BODY))


@given(place=st.sampled_from(PLACES), new=ODD, again=st.sampled_from(PLACES))
@settings(max_examples=200, deadline=None)
def test_an_odd_event_is_a_failure_at_most(place, new, again):
    events = changed(EVENTS, place, new)
    with contextlib.suppress(KeyError, IndexError, TypeError):
        events = changed(events, again, new)
    made, order = reader(), Order()
    try:
        for data in events:
            for told in made.feed(data if isinstance(data, dict) else {}):
                order.check(told)
                told.encode()
    except BackendError:
        return
    assert made.ended is order.ended


@given(place=st.sampled_from(list(places(ANSWER))), new=ODD)
@settings(max_examples=200, deadline=None)
def test_an_odd_whole_answer_is_a_failure_at_most(place, new):
    order = Order()
    try:
        for told in reader().whole(changed(ANSWER, place, new)):
            order.check(told)
    except BackendError:
        return
    assert order.ended


@given(place=st.sampled_from(IN_BODY), new=ODD, search=st.booleans())
@settings(max_examples=200, deadline=None)
def test_an_odd_request_is_translated_or_refused(place, new, search):
    body = changed(BODY, place, new)
    try:
        made = request_of(body, Target(REASONING, Facts(), web_search=search))
    except InvalidRequest:
        return
    assert made.body["store"] is False
    made.notes.lines()
