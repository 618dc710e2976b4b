"""A Responses request becomes the Messages request that asks for the same."""

import pytest

from plugway import InvalidRequest
from plugway_openai_api._envelope import opened, sealed
from plugway_openai_api._policy import RESPONSES, refusal
from plugway_openai_api._responses_request import responses_request
from plugway_translation import Notes

USER = {"role": "user", "content": "hi"}


def asked(input_, **fields):
    notes = Notes()
    body = {"model": "m", "input": input_, **fields}
    return responses_request(body, notes, max_tokens=4096), notes


def test_the_smallest_request():
    found, notes = asked("hi")
    assert found == {"model": "m", "max_tokens": 4096, "messages": [USER]}
    assert not notes


def test_an_agents_conversation_without_state():
    thought = {"type": "thinking", "thinking": "I look.", "signature": "theirs"}
    found, notes = asked(
        [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sealed(thought, "m")},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
             "content": [{"type": "output_text", "text": "Looking.", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "look", "arguments": '{"at":1}'},
            {"type": "function_call", "id": "fc_2", "call_id": "b", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "one"},
            {"type": "function_call_output", "call_id": "b",
             "output": [{"type": "input_image", "image_url": "data:image/png;base64,QQ=="}]},
            {"role": "user", "content": "and?"},
        ],
        instructions="Be brief.",
        tools=[{"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": True}],
        max_output_tokens=99,
        reasoning={"effort": "medium", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        store=False,
    )  # fmt: skip
    assert not notes
    assert (found["system"], found["max_tokens"]) == ("Be brief.", 99)
    assert found["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert found["output_config"] == {"effort": "medium"}
    assert found["tools"] == [
        {"name": "look", "input_schema": {"type": "object", "properties": {}}, "strict": True}
    ]
    assert found["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
        {
            "role": "assistant",
            "content": [
                thought,
                {"type": "text", "text": "Looking."},
                {"type": "tool_use", "id": "a", "name": "look", "input": {"at": 1}},
                {"type": "tool_use", "id": "b", "name": "look", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="},
                        }
                    ],
                },
                {"type": "text", "text": "and?"},
            ],
        },
    ]


def test_instructions_alone_are_enough():
    found, notes = asked(None, instructions="Say hello.")
    assert found["messages"][0]["role"] == "user"
    assert notes.fields() == {"messages"}


def test_thinking_of_somebody_else_is_dropped_on_record():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAAB"}
    found, notes = asked([USER, item, USER])
    assert len(found["messages"]) == 2
    assert notes.fields() == {"input.reasoning"}


@pytest.mark.parametrize("text", [None, 3, "", "plugway.1.", "plugway.1.e30", "plugway.1.%%%"])
def test_an_envelope_that_is_none_is_not_opened(text):
    assert opened(text) is None


def test_tools_that_openai_runs_are_dropped_on_record():
    tools = [{"type": "web_search"}, {"type": "function", "name": "f", "parameters": None}]
    found, notes = asked("hi", tools=tools)
    assert [tool["name"] for tool in found["tools"]] == ["f"]
    assert notes.fields() == {"tools.web_search"}
    with pytest.raises(InvalidRequest, match="tool_choice"):
        asked("hi", tools=tools, tool_choice={"type": "web_search"})


@pytest.mark.parametrize("kind", [{"type": "tool_use"}, ["any"], 7, 1.5, None, True, ""])
def test_a_choice_of_a_type_that_is_not_text_is_refused(kind):
    tools = [{"type": "function", "name": "f", "parameters": {}}]
    with pytest.raises(InvalidRequest, match="tool_choice"):
        asked("hi", tools=tools, tool_choice={"type": kind})


def test_tools_in_a_namespace_carry_its_name():
    tools = [
        {
            "type": "namespace",
            "name": "mcp__git",
            "description": "d",
            "tools": [{"type": "function", "name": "log"}],
        }
    ]
    call = {
        "type": "function_call",
        "call_id": "c",
        "namespace": "mcp__git",
        "name": "log",
        "arguments": "{}",
    }
    found, notes = asked([USER, call], tools=tools)
    assert found["tools"][0]["name"] == "mcp__git__log"
    assert found["messages"][1]["content"][0]["name"] == "mcp__git__log"
    assert notes.fields() == {"tools.namespace"}


def test_custom_tools_come_and_go_as_text():
    tools = [
        {
            "type": "custom",
            "name": "patch",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
        }
    ]
    call = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"}
    done = {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"}
    found, notes = asked([USER, call, done], tools=tools)
    assert found["messages"][1]["content"][0]["input"] == {"input": "*** Begin"}
    assert found["messages"][2]["content"][0]["content"] == "ok"
    assert "start: X" in found["tools"][0]["description"]
    assert notes.fields() == {"tools.custom"}


def test_a_schema_for_the_answer():
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    found, _ = asked("hi", text={"format": form})
    assert found["output_config"] == {
        "format": {"type": "json_schema", "schema": {"type": "object"}}
    }


@pytest.mark.parametrize(
    ("fields", "noted"),
    [
        ({"store": True}, "store"),
        ({"truncation": "auto"}, "truncation"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"include": ["web_search_call.results"]}, "include"),
        ({"max_tool_calls": 3}, "max_tool_calls"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"made_up": 1}, "made_up"),
    ],
)
def test_what_is_lost_is_on_record(fields, noted):
    _, notes = asked("hi", **fields)
    assert notes.fields() == {noted}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("conversation", "conv_1"),
        ("background", True),
        ("prompt", {"id": "pmpt_1"}),
        ("top_logprobs", 3),
    ],
)
def test_what_needs_a_memory_is_refused(field, value):
    asked("hi", **{field: value})
    refused = refusal({field: value}, RESPONSES)
    assert refused is not None
    assert refused.status == 400
    assert refusal({field: None}, RESPONSES) is None


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "'model'"),
        ({"model": "m"}, "Missing required parameter: 'input'"),
        ({"model": "m", "input": 3}, "Invalid type for 'input'"),
        ({"model": "m", "input": [3]}, "Invalid type for 'input[0]'"),
        ({"model": "m", "input": [{}]}, "'input[0].type'"),
        (
            {"model": "m", "input": [{"id": "msg_1", "type": "item_reference"}]},
            "Send the item itself",
        ),
        ({"model": "m", "input": [{"id": "msg_1"}]}, "Send the item itself"),
        ({"model": "m", "input": [{"role": "cat", "content": "x"}]}, "'input[0].role': 'cat'"),
        ({"model": "m", "input": [{"type": "function_call", "name": "f"}]}, "'input[0].call_id'"),
        ({"model": "m", "input": [{"type": "function_call_output"}]}, "'input[0].call_id'"),
        ({"model": "m", "input": "x", "text": 3}, "Invalid type for 'text'"),
        ({"model": "m", "input": "x", "reasoning": "high"}, "Invalid type for 'reasoning'"),
        ({"model": "m", "input": "x", "reasoning": {"effort": "huge"}}, "'reasoning.effort'"),
        (
            {"model": "m", "input": "x", "max_output_tokens": 1.5},
            "Invalid type for 'max_output_tokens'",
        ),
    ],
)
def test_mistakes_are_named_as_openai_names_them(body, named):
    with pytest.raises(InvalidRequest) as refused:
        responses_request(body, Notes(), max_tokens=1)
    assert named in refused.value.message
