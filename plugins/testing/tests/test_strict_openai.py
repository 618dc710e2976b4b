"""Each rule of the strict APIs of OpenAI: one request that it takes, one that it refuses."""

import pytest
from strict_asks import OPENAI, Case, told

from plugway.testing import refusals
from plugway_testing._strict import RULES

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
FUNCTION = {"name": "Read", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
HI = {"role": "user", "content": "hi"}
CHAT = {"model": "gpt-4.1", "messages": [HI], "tools": [TOOL]}
FLAT = {"type": "function", **FUNCTION, "strict": False}
RESPONSES = {"model": "gpt-5", "input": [HI], "tools": [FLAT], "store": False}
CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
STRICT = {"type": "json_schema", "name": "a", "strict": True}


def calling(*ids):
    function = {"name": "Read", "arguments": "{}"}
    calls = [{"id": i, "type": "function", "function": function} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answer(call_id):
    return {"role": "tool", "tool_call_id": call_id, "content": "ok"}


def turns(*more):
    return {"messages": [HI, *more]}


def functions(count=1, **more):
    made = [{**FUNCTION, "name": f"f{n}", **more} for n in range(count)]
    return {"tools": [{"type": "function", "function": function} for function in made]}


def schema(**more):
    return functions(parameters={"type": "object", **more})


def call(call_id="call_1", **more):
    return {"type": "function_call", "call_id": call_id, "name": "Read", "arguments": "{}", **more}


def output(call_id="call_1", **more):
    return {"type": "function_call_output", "call_id": call_id, "output": "ok", **more}


def given(*more):
    return {"input": [HI, *more]}


def thought(**more):
    return {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e", **more}


BOTH = {
    "key_header": Case({}, {}, "You didn't provide an API key.", {"authorization": ""}),
    "content_type": Case({}, {}, "you must provide a model", {"content-type": "text/plain"}),
    "only_beside_tools": Case(
        {"tools": None},
        {"tools": None, "parallel_tool_calls": False},
        "'parallel_tool_calls' is only allowed when 'tools' are specified.",
    ),
    "lengths": Case(
        {"safety_identifier": "u" * 128},
        {"safety_identifier": "u" * 129},
        "Invalid 'safety_identifier': string too long. Expected a string with maximum length 128",
    ),
    "numbers": Case(
        {"temperature": 1}, {"temperature": 3, "model": "gpt-4.1"}, "Expected a value <= 2"
    ),
    "sampling": Case(
        {"model": "gpt-4.1", "temperature": 0},
        {"model": "gpt-5.2", "temperature": 0},
        "Unsupported value: 'temperature' does not support 0 with this model.",
    ),
}
OF_CHAT = {
    **BOTH,
    "needed_fields": Case({}, {"messages": []}, "Invalid 'messages': empty array."),
    "known_fields": Case({"seed": 1}, {"top_k": 1}, "Unknown parameter: 'top_k'."),
    "enums": Case(
        turns({"role": "developer", "content": "s"}),
        turns({"role": "developer", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}),
        "Invalid value: 'image_url'. Supported values are: 'text'.",
    ),
    "contents": Case(
        turns(calling("a"), answer("a")),
        turns({"role": "assistant", "content": None}),
        "Invalid value for 'content': expected a string, got null.",
    ),
    "calls": Case(
        turns(calling("a" * 40), answer("a" * 40)),
        turns(calling("a" * 41), answer("a" * 41)),
        "Invalid 'messages[1].tool_calls[0].id': string too long.",
    ),
    "pairs": Case(
        turns(calling("a", "b"), answer("b"), answer("a"), HI),
        turns(calling("a", "b"), answer("b"), HI),
        "The following tool_call_ids did not have response messages: a",
    ),
    "tools": Case(functions(128), functions(129), "Invalid 'tools': array too long."),
    "tool_choice": Case(
        {"tool_choice": {"type": "function", "function": {"name": "Read"}}},
        {"tool_choice": {"type": "function", "function": {"name": "Write"}}},
        "Tool choice 'function' not found in 'tools' parameter.",
    ),
    "output": Case(
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream_options": {"include_usage": True}},
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    ),
    "model_takes": Case(
        {"model": "o3", "max_completion_tokens": 99},
        {"model": "o3", "max_tokens": 99},
        "Use 'max_completion_tokens' instead.",
    ),
}
OF_RESPONSES = {
    **BOTH,
    "needed_fields": Case({}, {"input": []}, "Missing required parameter: 'input'."),
    "known_fields": Case(
        given({"role": "user", "content": [{"type": "input_text", "text": "a"}]}),
        given(
            {"role": "user", "content": [{"type": "input_text", "text": "a", "cache_control": 1}]}
        ),
        "Unknown parameter: 'input[1].content[0].cache_control'.",
    ),
    "enums": Case(
        {"reasoning": {"effort": "low"}},
        {"reasoning": {"effort": "most"}},
        "Invalid value: 'most'.",
    ),
    "contents": Case(
        given({"role": "assistant", "content": [{"type": "output_text", "text": "a"}]}),
        given({"role": "assistant", "content": [{"type": "input_text", "text": "a"}]}),
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
    ),
    "item_ids": Case(
        given(call(id="fc_1"), output()),
        given(call(id="call_1"), output()),
        "Expected an ID that begins with 'fc'.",
    ),
    "calls": Case(
        given(call("c" * 64), output("c" * 64)),
        given(call(arguments=None), output()),
        "Missing required parameter: 'input[1].arguments'.",
    ),
    "pairs": Case(
        given(call(), call("b"), output("b"), output()),
        given(call(), call("b"), output("b")),
        "No tool output found for function call call_1.",
    ),
    "reasoning_items": Case(
        given(thought(), call(), output()),
        given(call(), output(), thought()),
        "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
    ),
    "references": Case(
        {"store": True, **given({"type": "item_reference", "id": "rs_1"})},
        given({"type": "item_reference", "id": "rs_1"}),
        "Items are not persisted when `store` is set to false.",
    ),
    "tools": Case(
        {"tools": [FLAT]},
        {"tools": [{"type": "function", "parameters": SCHEMA}]},
        "Missing required parameter: 'tools[0].name'.",
    ),
    "tool_choice": Case(
        {"tool_choice": {"type": "function", "name": "Read"}},
        {"tool_choice": {"type": "function", "name": "Write"}},
        "Tool choice 'function' not found in 'tools' parameter.",
    ),
    "output": Case(
        {"max_output_tokens": 16}, {"max_output_tokens": 15}, "Expected a value >= 16, but got 15"
    ),
    "model_takes": Case(
        {"include": ["reasoning.encrypted_content"]},
        {"model": "gpt-4o", "include": ["reasoning.encrypted_content"]},
        "Encrypted content is not supported with this model.",
    ),
}
MORE_OF_CHAT = {
    "a long key of a cache": ({"prompt_cache_key": "k" * 65}, "maximum length 64"),
    "a long user": ({"user": "k" * 65}, "Invalid 'user': string too long"),
    "metadata that is no text": ({"metadata": {"a": 1}}, "Invalid type for 'metadata.a'"),
    "a mark for caching": (
        turns({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}),
        "Unknown parameter: 'messages[1].content[0].cache_control'.",
    ),
    "thinking of another server": (
        turns({"role": "assistant", "content": "a", "reasoning_content": "b"}),
        "Unknown parameter: 'messages[1].reasoning_content'.",
    ),
    "an index": (
        turns(
            {**calling("a"), "tool_calls": [{**calling("a")["tool_calls"][0], "index": 0}]},
            answer("a"),
        ),
        "Unknown parameter: 'messages[1].tool_calls[0].index'.",
    ),
    "a tool message without call": (
        turns(answer("a")),
        "to a preceeding message with 'tool_calls'",
    ),
    "two results": (turns(calling("a"), answer("a"), answer("a")), "preceeding message"),
    "a last call": (turns(calling("a")), "did not have response messages: a"),
    "ids of one turn twice": (
        turns(calling("a", "a"), answer("a"), answer("a")),
        "Duplicate value",
    ),
    "no tools in a list": ({"tools": []}, "Invalid 'tools': empty array."),
    "an odd name": (functions(name="a.b"), "string does not match pattern"),
    "a long name": (functions(name="a" * 65), "Expected a string with maximum length 64"),
    "a union at the root": (schema(anyOf=[]), "Found 'anyOf'."),
    "no type at the root": (functions(parameters={"$ref": "#/a"}), "got 'type: \"None\"'"),
    "no parameters": (functions(parameters=None), None),
    "a list of anything": (
        schema(properties={"a": {"type": "array"}}),
        "array schema missing items",
    ),
    "an open strict function": (functions(strict=True), "'additionalProperties' is required"),
    "an optional property": (
        functions(strict=True, parameters={**CLOSED, "properties": {"a": {"type": "string"}}}),
        "including every key in properties. Missing 'a'.",
    ),
    "a closed one": (functions(strict=True, parameters=CLOSED), None),
    "five stops": ({"stop": list("abcde")}, "Invalid 'stop': array too long."),
    "JSON without the word": ({"response_format": {"type": "json_object"}}, "the word 'json'"),
    "JSON with it": (
        {
            "response_format": {"type": "json_object"},
            "messages": [{"role": "user", "content": "JSON!"}],
        },
        None,
    ),
    "a format without a name": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "Missing required parameter: 'response_format.json_schema.name'.",
    ),
    "both limits": ({"max_tokens": 9, "max_completion_tokens": 9}, "at the same time"),
    "no tokens": ({"max_tokens": 0}, "Expected a value >= 1, but got 0"),
    "a stop, reasoning": ({"model": "gpt-5", "stop": ["a"]}, "'stop' is not supported"),
    "a chat model of GPT-5": ({"model": "gpt-5-chat-latest", "temperature": 0}, None),
    "functions beside effort": (
        {"model": "gpt-5.6-luna", "reasoning_effort": "low"},
        "Function tools with reasoning_effort are not supported for gpt-5.6-luna",
    ),
    "functions without effort": ({"model": "gpt-5.6-luna", "reasoning_effort": "none"}, None),
    "an effort that a model has not": (
        {"reasoning_effort": "low"},
        "Unrecognized request argument",
    ),
}
MORE_OF_RESPONSES = {
    "a text as input": ({"input": "hi"}, None),
    "a long id of a call": (given(call("c" * 65), output("c" * 65)), "with maximum length 64"),
    "a call's output is nowhere": (given(output()), "No tool call found for function call output"),
    "the server holds the call": ({"previous_response_id": "resp_1", **given(output())}, None),
    "two items of one id": (
        given(call(id="fc_1"), output(), call("b", id="fc_1"), output("b")), "Duplicate item found",
    ),
    "thinking before the user's words": (given(thought(), HI), "without its required following item"),
    "thinking that was not kept": (
        given(thought(encrypted_content=None), call(), output()), "Items are not persisted",
    ),
    "thinking in words": (
        given(thought(content=[{"type": "reasoning_text", "text": "a"}]), call(), output()),
        "Invalid 'input[1].content': array too long. Expected an array with maximum length 0",
    ),
    "a choice in Chat's shape": (
        {"tool_choice": {"type": "function", "name": "Read", "function": {}}},
        "Unknown parameter: 'tool_choice.function'.",
    ),
    "a tool in Chat's shape": ({"tools": [TOOL]}, "Unknown parameter: 'tools[0].function'."),
    "a result in parts": (given(call(), output(output=[{"type": "input_text", "text": "a"}])), None),
    "a result in parts of the assistant": (
        given(call(), output(output=[{"type": "output_text", "text": "a"}])),
        "Supported values are: 'input_text', 'input_image', and 'input_file'.",
    ),
    "JSON without the word": (
        {"text": {"format": {"type": "json_object"}}}, "Response input messages must contain the word",
    ),
    "a strict format": ({"text": {"format": {**STRICT, "schema": CLOSED}}}, None),
    "an open strict format": (
        {"text": {"format": {**STRICT, "schema": {"type": "object"}}}}, "response_format 'a': In",
    ),
    "an effort that a model has not": (
        {"model": "gpt-4.1", "reasoning": {"effort": "low"}}, "'reasoning.effort' is not supported",
    ),
}  # fmt: skip
APIS = {
    "chat": (CHAT, "/v1/chat/completions", OF_CHAT, MORE_OF_CHAT),
    "responses": (RESPONSES, "/v1/responses", OF_RESPONSES, MORE_OF_RESPONSES),
}
ROWS = {f"{api}: {name}": (api, case) for api in APIS for name, case in APIS[api][2].items()}
MORE = {f"{api}: {name}": (api, *row) for api in APIS for name, row in APIS[api][3].items()}


@pytest.mark.parametrize("api", APIS)
def test_every_rule_has_its_case(api):
    assert set(APIS[api][2]) == {rule.__name__ for rule in RULES[api]}


def of(api, more, headers=None):
    body, path, *_ = APIS[api]
    return told(api, OPENAI, body, path, headers or {}, "", more)


@pytest.mark.parametrize(("api", "case"), ROWS.values(), ids=ROWS)
def test_a_rule_takes_a_good_request_and_refuses_a_bad_one(api, case):
    assert of(api, case.taken) == []
    found = of(api, case.refused, case.headers)
    assert len(found) == 1, found
    assert case.words in found[0]


@pytest.mark.parametrize(("api", "more", "words"), MORE.values(), ids=MORE)
def test_more_requests(api, more, words):
    found = of(api, more)
    assert (found == []) if words is None else any(words in text for text in found), found


def test_a_server_of_the_same_shape_takes_more():
    body = {**CHAT, "top_k": 5, "messages": [HI, {"role": "assistant", "content": "a", "x": 1}]}
    lenient = ("known_fields", "key_header", "model_takes")
    path, lines = "/v1/chat/completions", {"content-type": "application/json"}
    assert refusals("chat", lines, path, body, without=lenient) == []


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    "name", ["messages", "input", "tools", "tool_choice", "metadata", "text", "stop", "reasoning"]
)
@pytest.mark.parametrize("value", [1, "x", [1, "a", None], {"a": 1}, True])
def test_nonsense_is_no_failure_of_the_rules(api, name, value):
    assert isinstance(of(api, {name: value}), list)
