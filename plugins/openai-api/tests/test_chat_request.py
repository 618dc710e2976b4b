"""A Chat Completions request becomes the Messages request that asks for the same."""

import pytest

from plugway import InvalidRequest
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._policy import CHAT, refusal
from plugway_translation import Notes

USER = {"role": "user", "content": "hi"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells it.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
TIME = {"type": "function", "function": {"name": "time"}}


def asked(*messages, **fields):
    """The Messages request and the fields that there are notes about."""
    notes = Notes()
    body = {"model": "m", "messages": list(messages) or [USER], **fields}
    return chat_request(body, notes, max_tokens=4096), notes


def test_the_smallest_request():
    found, notes = asked()
    assert found == {"model": "m", "max_tokens": 4096, "messages": [USER]}
    assert not notes


def test_a_conversation_with_parallel_calls():
    calls = [
        {
            "id": "call.1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city":"Ulm"}'},
        },
        {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": ""}},
    ]
    found, notes = asked(
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "I look.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call.1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
        {"role": "user", "content": "and?"},
        tools=[WEATHER, TIME],
    )
    assert not notes
    assert found["system"] == "Be brief."
    said, results = found["messages"][1:]
    assert said == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "pw_call_2e1", "name": "weather", "input": {"city": "Ulm"}},
            {"type": "tool_use", "id": "call_2", "name": "time", "input": {}},
        ],
    }
    assert results == {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "pw_call_2e1", "content": "sunny"},
            {
                "type": "tool_result",
                "tool_use_id": "call_2",
                "content": [{"type": "text", "text": "noon"}],
            },
            {"type": "text", "text": "and?"},
        ],
    }
    assert found["tools"] == [
        {
            "name": "weather",
            "description": "Tells it.",
            "input_schema": WEATHER["function"]["parameters"],
        },
        {"name": "time", "input_schema": {"type": "object", "properties": {}}},
    ]


def test_instructions_stay_where_they_are():
    found, _ = asked(
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        USER,
        {"role": "system", "content": "three"},
    )
    assert [block["text"] for block in found["system"]] == ["one", "two"]
    assert found["messages"] == [USER, {"role": "system", "content": "three"}]


def test_instructions_alone_are_a_user_turn():
    found, notes = asked({"role": "system", "content": "Say hello."})
    assert found["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Say hello."}]}
    ]
    assert "system" not in found
    assert notes.fields() == {"messages"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 7, "max_tokens": 9}, {"max_tokens": 7}),
        ({"max_tokens": None}, {"max_tokens": 4096}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"stop": None, "stream": False, "tools": None}, {}),
        ({"temperature": 0.5, "top_p": 1}, {"temperature": 0.5, "top_p": 1}),
        ({"top_k": 40}, {"top_k": 40}),
        ({"stream": True}, {"stream": True}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            {"reasoning_effort": "high"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}},
                }
            },
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"response_format": {"type": "text"}}, {}),
    ],
)
def test_fields_that_are_said_in_other_words(fields, expected):
    found, notes = asked(**fields)
    plain = {"model": "m", "max_tokens": 4096, "messages": [USER]}
    assert found == {**plain, **expected}
    assert not notes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 3),
        ("frequency_penalty", 0.5),
        ("presence_penalty", -1),
        ("logit_bias", {"50256": -100}),
        ("service_tier", "flex"),
        ("store", True),
        ("metadata", {"a": "b"}),
        ("prediction", {"type": "content", "content": "x"}),
        ("verbosity", "low"),
        ("prompt_cache_key", "k"),
        ("min_p", 0.1),
        ("temperature", 1.5),
    ],
)
def test_what_is_lost_is_on_record(field, value):
    found, notes = asked(**{field: value})
    assert notes.fields() == {field}
    assert found.get(field) in {None, 1}
    assert refusal({field: value}, CHAT) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 2),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("functions", [{"name": "f"}]),
        ("web_search_options", {}),
        ("moderation", {"model": "omni"}),
    ],
)
def test_what_would_be_missing_in_the_answer_is_refused(field, value):
    asked(**{field: value})  # only when nobody is found who serves it
    refused = refusal({field: value}, CHAT)
    assert refused is not None
    assert refused.message.startswith(f"Unsupported parameter: '{field}'")


@pytest.mark.parametrize(
    "body", [{"n": 1, "logprobs": False, "modalities": ["text"], "n_": 1}, {"n": None}]
)
def test_asking_for_what_is_anyway_is_fine(body):
    assert refusal(body, CHAT) is None


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", None, {"type": "any"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"type": "function", "function": {"name": "time"}},
            None,
            {"type": "tool", "name": "time"},
        ),
        (
            {"type": "function", "function": {"name": "time"}},
            False,
            {"type": "tool", "name": "time", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_the_choice_among_tools(choice, parallel, expected):
    found, _ = asked(tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=parallel)
    assert found["tool_choice"] == expected
    assert len(found["tools"]) == 2


def test_tools_that_are_not_allowed_are_left_out():
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "time"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    found, notes = asked(tools=[WEATHER, TIME], tool_choice=choice)
    assert [tool["name"] for tool in found["tools"]] == ["time"]
    assert found["tool_choice"] == {"type": "any"}
    assert notes.fields() == {"tool_choice"}


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "gone"}}, "tools": [TIME]},
        {"tool_choice": "sometimes", "tools": [TIME]},
        {"tool_choice": {"type": "web_search"}, "tools": [TIME]},
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(fields):
    with pytest.raises(InvalidRequest, match="tool_choice"):
        asked(**fields)


def test_a_custom_tool_is_a_function_with_one_text():
    tool = {
        "type": "custom",
        "custom": {
            "name": "sql",
            "description": "Runs it.",
            "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: X"}},
        },
    }
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    found, notes = asked(USER, {"role": "assistant", "tool_calls": [call]}, tools=[tool])
    (block,) = found["tools"]
    assert block["input_schema"]["required"] == ["input"]
    assert "start: X" in block["description"]
    assert found["messages"][1]["content"][0]["input"] == {"input": "SELECT 1"}
    assert notes.fields() == {"tools.custom"}


def test_pictures_and_files():
    found, notes = asked(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": ""},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {
                    "type": "image_url",
                    "image_url": {"url": "https://x.test/a.png", "detail": "low"},
                },
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                },
                {"type": "file", "file": {"filename": "a.txt", "file_data": "aGk="}},
            ],
        }
    )
    assert found["messages"][0]["content"] == [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
            "title": "a.pdf",
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
            "title": "a.txt",
        },
    ]
    assert notes.fields() == {"detail"}


SOUND = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}}


def test_a_picture_has_the_media_type_that_is_registered():
    part = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD"}}
    found, _ = asked({"role": "user", "content": [part]})
    assert found["messages"][0]["content"][0]["source"]["media_type"] == "image/jpeg"


def test_a_forced_call_goes_without_thinking():
    fields = {"tools": [TIME], "tool_choice": "required", "reasoning_effort": "high"}
    found, notes = asked(**fields)
    assert "thinking" not in found
    assert found["output_config"] == {"effort": "high"}
    assert notes.fields() == {"reasoning_effort"}


def test_what_nobody_can_hear_leaves_words_in_its_place_or_is_refused():
    message = {"role": "user", "content": [SOUND, {"type": "file", "file": {"file_id": "file-1"}}]}
    found, notes = asked(message)
    assert all("left out" in block["text"] for block in found["messages"][0]["content"])
    assert notes.fields() == {"document"}
    with pytest.raises(InvalidRequest, match="audio"):
        body = {"model": "m", "messages": [message]}
        chat_request(body, Notes(), max_tokens=1, media="reject")


def test_arguments_that_are_no_object_are_kept_as_text():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    found, notes = asked(USER, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert found["messages"][1]["content"][0]["input"] == {"unparsed_arguments": '{"a": '}
    assert notes.fields() == {"arguments"}


def test_any_json_object_is_asked_for_in_words():
    found, notes = asked(
        {"role": "system", "content": "Be brief."}, USER, response_format={"type": "json_object"}
    )
    assert found["system"][0]["text"] == "Be brief."
    assert "JSON" in found["system"][1]["text"]
    assert notes.fields() == {"response_format"}


def test_thinking_of_earlier_turns_has_no_place():
    message = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}
    found, notes = asked(USER, message, USER)
    assert found["messages"][1] == {"role": "assistant", "content": "4"}
    assert notes.fields() == {"messages.reasoning_content"}


def test_turns_without_content_are_left_out():
    found, notes = asked(
        USER, {"role": "assistant", "content": ""}, {"role": "user", "content": []}, USER
    )
    assert found["messages"] == [USER, USER]
    assert notes.fields() == {"messages"}


def test_a_refusal_of_an_earlier_turn_is_what_was_said():
    found, _ = asked(USER, {"role": "assistant", "content": None, "refusal": "No."}, USER)
    assert found["messages"][1]["content"] == [{"type": "text", "text": "No."}]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "Missing required parameter: 'model'"),
        ({"model": 3, "messages": [USER]}, "Invalid type for 'model'"),
        ({"model": "m"}, "Missing required parameter: 'messages'"),
        ({"model": "m", "messages": "hi"}, "Invalid type for 'messages'"),
        ({"model": "m", "messages": ["hi"]}, "Invalid type for 'messages[0]'"),
        ({"model": "m", "messages": [{"content": "hi"}]}, "'messages[0].role'"),
        (
            {"model": "m", "messages": [{"role": "robot", "content": "hi"}]},
            "'messages[0].role': 'robot'",
        ),
        ({"model": "m", "messages": [{"role": "user", "content": 3}]}, "'messages[0].content'"),
        (
            {"model": "m", "messages": [{"role": "user", "content": [3]}]},
            "'messages[0].content[0]'",
        ),
        (
            {"model": "m", "messages": [{"role": "tool", "content": "x"}]},
            "'messages[0].tool_call_id'",
        ),
        ({"model": "m", "messages": [{"role": "function", "content": "x"}]}, "'messages[0].name'"),
        (
            {"model": "m", "messages": [{"role": "function", "name": "f", "content": "x"}]},
            "no `function_call` before it",
        ),
        ({"model": "m", "messages": [USER], "max_tokens": "9"}, "Invalid type for 'max_tokens'"),
        ({"model": "m", "messages": [USER], "max_tokens": -1}, "Invalid 'max_tokens'"),
        ({"model": "m", "messages": [USER], "max_tokens": True}, "Invalid type for 'max_tokens'"),
        ({"model": "m", "messages": [USER], "temperature": 3}, "Invalid 'temperature'"),
        ({"model": "m", "messages": [USER], "stream": "yes"}, "Invalid type for 'stream'"),
        ({"model": "m", "messages": [USER], "stop": [1]}, "Invalid type for 'stop'"),
        ({"model": "m", "messages": [USER], "reasoning_effort": "much"}, "'reasoning_effort'"),
        ({"model": "m", "messages": [USER], "tools": {}}, "Invalid type for 'tools'"),
        (
            {"model": "m", "messages": [USER], "tools": [{"type": "function"}]},
            "'tools[0].function.name'",
        ),
        ({"model": "m", "messages": [USER], "tools": [{"type": "x"}]}, "'tools[0].type'"),
        (
            {"model": "m", "messages": [USER], "response_format": {"type": "xml"}},
            "'response_format.type'",
        ),
        (
            {
                "model": "m",
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}],
                    }
                ],
            },
            "image_url.url",
        ),
        (
            {
                "model": "m",
                "messages": [
                    {
                        "role": "system",
                        "content": [{"type": "image_url", "image_url": "https://x.test"}],
                    }
                ],
            },
            "expected text",
        ),
    ],
)
def test_mistakes_are_named_as_openai_names_them(body, named):
    with pytest.raises(InvalidRequest) as refused:
        chat_request(body, Notes(), max_tokens=1)
    assert named in refused.value.message


def test_calls_of_before_tool_calls_and_their_results_are_pairs():
    call = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "1"}
    found, _ = asked(USER, call, result, call, result, USER)
    blocks = [block for message in found["messages"][1:] for block in message["content"]]
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    assert len(set(calls)) == 2
    assert calls == results


def test_arguments_may_be_the_object_itself():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    found, notes = asked(USER, {"role": "assistant", "tool_calls": [call]})
    assert found["messages"][1]["content"][0]["input"] == {"a": 1}
    assert not notes


@pytest.mark.parametrize("kind", ["thinking", "redacted_thinking"])
def test_thinking_in_parts_is_left_out_as_in_other_fields(kind):
    part = {"type": kind, "thinking": [{"type": "text", "text": "hm"}]}
    said = {"type": "text", "text": "ok"}
    found, notes = asked(USER, {"role": "assistant", "content": [part, said]})
    assert found["messages"][1]["content"] == [said]
    assert notes.fields() == {"messages.thinking"}
