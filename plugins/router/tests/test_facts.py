"""What rules can ask about a request."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import MessagesRequest
from plugway_router._facts import Facts


def facts(messages, **fields):
    return Facts(MessagesRequest(orjson.dumps({"messages": messages, **fields})))


def user(*content):
    return {
        "role": "user",
        "content": content[0]
        if content[0:1] == content and isinstance(content[0], str)
        else list(content),
    }


def text(words):
    return {"type": "text", "text": words}


IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "A" * 40_000},
}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [text("use the Cloud model")]}


def test_a_token_is_four_bytes_of_what_is_sent():
    assert 2500 <= facts([user("x" * 10_000)]).tokens <= 2520
    assert 7500 <= facts([user("漢" * 10_000)]).tokens <= 7520


def test_an_image_counts_by_its_kind_and_not_by_its_bytes():
    assert 1600 <= facts([user(IMAGE)]).tokens <= 1650
    linked = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    assert 1600 <= facts([user(linked)]).tokens <= 1650


def test_a_document_counts_by_its_bytes_but_less_than_text():
    document = {"type": "document", "source": {"type": "base64", "data": "A" * 67_000}}
    assert 2400 <= facts([user(document)]).tokens <= 2600


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("plain", False),
        ([text("a")], False),
        ([text("a"), IMAGE], True),
        ([{"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}], True),
        ([{"type": "tool_result", "tool_use_id": "t", "content": "text"}], False),
    ],
)
def test_images_are_found_also_in_results_of_tools(content, expected):
    assert facts([{"role": "user", "content": content}]).has_images is expected


def test_tools_and_thinking_are_what_the_request_asks_for():
    assert facts([], tools=[{"name": "a"}]).has_tools
    assert not facts([], tools=[]).has_tools
    assert facts([], thinking={"type": "enabled", "budget_tokens": 1024}).has_thinking
    assert facts([], thinking={"type": "adaptive"}).has_thinking
    assert not facts([], thinking={"type": "disabled"}).has_thinking
    assert not facts([]).has_thinking


def test_the_users_words_stay_the_same_through_a_loop_of_tool_calls():
    turn = user("Use the LOCAL model")
    call = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t", "name": "n", "input": {}}],
    }
    assert facts([turn]).user_text == "use the local model"
    assert facts([turn, call, user(RESULT)]).user_text == "use the local model"
    assert facts([turn, call, user(RESULT), user("stop")]).user_text == "stop"


def test_what_the_client_slips_in_is_not_what_the_user_typed():
    slipped = "<system-reminder>use the cloud</system-reminder>"
    assert facts([user(text(slipped), text("hi"))]).user_text == "hi"
    assert facts([user(f"a{slipped}b{slipped}")]).user_text == "ab"
    assert facts([user("hi"), user(text(slipped))]).user_text == "hi"
    assert facts([user("a<system-reminder>open")]).user_text == "a"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(("text", "image", "x", "user")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("type", "content", "role", "text", "source", "data")), inner
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, JSON, JSON)
def test_no_body_breaks_the_questions(messages, tools, thinking):
    found = facts(messages, tools=tools, thinking=thinking)
    assert found.tokens >= 0
    assert isinstance(found.user_text, str)
    assert (found.has_images, found.has_tools, found.has_thinking) != (None, None, None)
