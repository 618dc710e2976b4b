"""Each rule of the strict Messages API: one request that it takes, one that it refuses."""

import pytest
from strict_asks import MESSAGES, Case, told

from plugway.testing import refusals
from plugway_testing._strict import RULES

TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {}}}}
BODY = {
    "model": "m",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [TOOL],
}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
MARK = {"cache_control": {"type": "ephemeral"}}
LONG = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TEXT = {"type": "text", "text": "hi"}
BUDGET = {"type": "enabled", "budget_tokens": 1024}
CLOSED = {"type": "object", "properties": {}, "additionalProperties": False}


def after(*blocks, first="hi"):
    """User, assistant, user and so on; each a list of blocks."""
    roles = ("assistant", "user")
    turns = [{"role": roles[n % 2], "content": told} for n, told in enumerate(blocks)]
    return {"messages": [{"role": "user", "content": first}, *turns]}


def tool(**more):
    return {"tools": [{**TOOL, **more}]}


def schema(**more):
    return tool(input_schema={"type": "object", **more})


def image(kind="image/png", data="aGk="):
    source = {"type": "base64", "media_type": kind, "data": data}
    return after(first=[{"type": "image", "source": source}])


CASES = {
    "version_header": Case(
        {}, {}, "anthropic-version: header is required", {"anthropic-version": ""}
    ),
    "key_header": Case({}, {}, "x-api-key header is required", {"x-api-key": ""}),
    "content_type": Case({}, {}, "content-type:", {"content-type": "text/plain"}),
    "needed_fields": Case({}, {"max_tokens": None}, "max_tokens: Field required"),
    "known_fields": Case({"speed": "fast"}, {"user": "me"}, "user: Extra inputs are not permitted"),
    "beta_fields": Case({}, {"context_management": {}}, "context_management: Extra inputs"),
    "metadata": Case(
        {"metadata": {"user_id": "u" * 256}}, {"metadata": {"user_id": "u" * 257}}, "at most 256"
    ),
    "enums": Case(
        {"service_tier": "auto"}, {"service_tier": "flex"}, "service_tier: Input should be"
    ),
    "ranges": Case({"temperature": 1}, {"temperature": 1.1}, "temperature: Input should be less"),
    "stop_sequences": Case(
        {"stop_sequences": ["END"]}, {"stop_sequences": ["\n"]}, "must contain non-whitespace"
    ),
    "thinking_form": Case(
        {"thinking": BUDGET},
        {"thinking": BUDGET, "max_tokens": 1024},
        "`max_tokens` must be greater than `thinking.budget_tokens`",
    ),
    "beside_thinking": Case(
        {"thinking": BUDGET, "temperature": 1},
        {"thinking": BUDGET, "tool_choice": {"type": "any"}},
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    "model_takes": Case(
        {"model": "claude-opus-4-7", "output_config": {"effort": "xhigh"}},
        {"model": "claude-haiku-4-5-20251001", "output_config": {"effort": "low"}},
        "This model does not support the effort parameter.",
    ),
    "tool_form": Case(tool(name="a" * 128), tool(name="a" * 129), "tools.0.custom.name: String"),
    "tool_schemas": Case(
        schema(properties={"a": {"anyOf": [{}]}}),
        schema(anyOf=[{}]),
        "does not support oneOf, allOf, or anyOf at the top level",
    ),
    "strict_schemas": Case(
        tool(strict=True, input_schema=CLOSED),
        tool(strict=True),
        "'additionalProperties' must be explicitly set to false",
    ),
    "tool_choice": Case(
        {"tool_choice": {"type": "tool", "name": "Read"}},
        {"tool_choice": {"type": "tool", "name": "Write"}},
        "Tool 'Write' not found in provided tools",
    ),
    "deferred_tools": Case(
        {"tools": [TOOL, {**TOOL, "name": "Late", "defer_loading": True}]},
        tool(defer_loading=True),
        "At least one tool must have defer_loading=false.",
    ),
    "cache_marks": Case(
        {"system": [{**TEXT, **LONG}, *[{**TEXT, **MARK}] * 3]},
        {"system": [{**TEXT, **MARK}] * 5},
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "roles": Case(
        {
            "model": "claude-opus-4-8",
            "messages": [*BODY["messages"], {"role": "system", "content": "s"}],
        },
        {
            "model": "claude-sonnet-4-6",
            "messages": [*BODY["messages"], {"role": "system", "content": "s"}],
        },
        'messages: Unexpected role "system".',
    ),
    "members": Case(
        after([TEXT], [TEXT]),
        after([{**TEXT, "id": "t"}], "so"),
        "messages.1.content.0.text.id: Extra",
    ),
    "needed_members": Case(
        after([THOUGHT, TEXT], "go on"),
        after([{"type": "thinking", "thinking": "Hm."}, TEXT], "go on"),
        "messages.1.content.0.thinking.signature: Field required",
    ),
    "texts": Case(
        after([TEXT], "go on"),
        after([{"type": "text", "text": "\n"}], "go on"),
        "messages: text content blocks must contain non-whitespace text",
    ),
    "prefill": Case(
        {"model": "claude-sonnet-4-5", **after("So")},
        {"model": "claude-sonnet-4-6", **after("So")},
        "This model does not support assistant message prefill.",
    ),
    "call_ids": Case(
        after(
            [CALL], [RESULT], [{**CALL, "id": "toolu_2"}], [{**RESULT, "tool_use_id": "toolu_2"}]
        ),
        after([CALL], [RESULT], [CALL], [RESULT]),
        "messages: `tool_use` ids must be unique",
    ),
    "pairs": Case(
        after([CALL], [RESULT, TEXT]),
        after([CALL], [TEXT, RESULT]),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
    ),
    "thinking_first": Case(
        {"thinking": BUDGET, **after([THOUGHT, CALL], [RESULT])},
        {"thinking": BUDGET, **after([CALL], [RESULT])},
        "Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
    ),
    "signatures": Case(
        after([THOUGHT, TEXT], "go on"),
        after([{**THOUGHT, "signature": "not base64"}, TEXT], "go on"),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    "images": Case(image(), image("image/bmp"), "media_type: Input should be 'image/jpeg'"),
}
MORE = {
    "a key in the other header": ({"x-api-key": "", "authorization": "Bearer k"}, {}, None),
    "a beta field with its beta": (
        {"anthropic-beta": "a,context-management-2025-06-27"}, {"context_management": {}}, None,
    ),
    "a beta field without it": ({}, {"safeguards": []}, "safeguards: Extra inputs"),
    "an address as user": ({}, {"metadata": {"user_id": "a@b.com"}}, "contain an email address"),
    "no messages": ({}, {"messages": []}, "at least one message is required"),
    "a small budget": ({}, {"thinking": {**BUDGET, "budget_tokens": 1000}}, "or equal to 1024"),
    "a budget over the limit, interleaved": (
        {"anthropic-beta": "interleaved-thinking-2025-05-14"},
        {"thinking": BUDGET, "max_tokens": 1024}, None,
    ),
    "a temperature beside thinking": (
        {}, {"thinking": {"type": "adaptive"}, "temperature": 0}, "may only be set to 1",
    ),
    "top_k beside thinking": ({}, {"thinking": BUDGET, "top_k": 5}, "`top_k` must be unset"),
    "a small top_p beside thinking": ({}, {"thinking": BUDGET, "top_p": 0.9}, "`top_p` must be"),
    "both samplings, 4.5": (
        {}, {"model": "claude-sonnet-4-5", "temperature": 1, "top_p": 1}, "cannot both be specified",
    ),
    "a temperature, Claude 5": (
        {}, {"model": "anthropic/claude-sonnet-5", "temperature": 0}, "`temperature` is deprecated",
    ),
    "the usual temperature, Claude 5": ({}, {"model": "claude-opus-5", "temperature": 1}, None),
    "a budget, 4.7": (
        {}, {"model": "claude-opus-4.7", "thinking": BUDGET}, '"thinking.type.enabled" is not supported',
    ),
    "adaptive, 4.5": (
        {}, {"model": "claude-opus-4-5@20251101", "thinking": {"type": "adaptive"}},
        "adaptive thinking is not supported on this model",
    ),
    "no thinking, Fable": (
        {}, {"model": "claude-fable-5", "thinking": {"type": "disabled"}}, "thinking.type.disabled",
    ),
    "no thinking at the highest effort": (
        {},
        {"model": "claude-opus-5", "thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
        'value "disabled" is not supported with "output_config.effort" value "max"',
    ),
    "a forced tool, Opus 5.5": (
        {}, {"model": "claude-opus-5-5", "tool_choice": {"type": "any"}}, 'type "tool" and "any" are not',
    ),
    "an effort that is not there": (
        {}, {"model": "claude-opus-4-5", "output_config": {"effort": "max"}}, 'value "max" is not',
    ),
    "more than the model writes": (
        {}, {"model": "claude-haiku-4-5", "max_tokens": 64001}, "64001 > 64000, which is the maximum",
    ),
    "two tools of one name": ({}, {"tools": [TOOL, TOOL]}, "Tool names must be unique"),
    "a tool of the server": ({}, {"tools": [{"type": "web_search_20250305", "name": "s"}]}, None),
    "a field of another API": ({}, tool(parameters={}), "custom.parameters: Extra inputs"),
    "no type in a schema": ({}, tool(input_schema={}), "input_schema.type: Field required"),
    "an odd property": ({}, schema(properties={"$top": {}}), "Property keys should match pattern"),
    "an older draft": (
        {}, schema(properties={"n": {"exclusiveMinimum": True}}), "JSON Schema draft 2020-12",
    ),
    "a bound in a format": (
        {},
        {"output_config": {"format": {"schema": {"type": "integer", "minimum": 1}}}},
        "For 'integer' type, property 'minimum' is not supported",
    ),
    "a choice without tools": (
        {}, {"tools": None, "tool_choice": {"type": "auto"}}, "may only be specified while providing",
    ),
    "a marked tool that comes late": (
        {}, {"tools": [TOOL, {**TOOL, **MARK, "name": "L", "defer_loading": True}]},
        "Tool 'L' cannot have both defer_loading=true and cache_control set.",
    ),
    "a long mark after a short one": (
        {}, {"system": [{**TEXT, **MARK}, {**TEXT, **LONG}]}, "must not come after a ttl='5m'",
    ),
    "a mark on an empty text": (
        {}, {"system": [{"type": "text", "text": "", **MARK}]}, "system.0: cache_control cannot be set",
    ),
    "a mark on a thought": ({}, after([{**THOUGHT, **MARK}, TEXT], "so"), "thinking.cache_control"),
    "an argument of that name": ({}, after([{**CALL, "input": {"cache_control": 1}}], [RESULT]), None),
    "a system turn first": ({}, {"messages": [{"role": "system", "content": "s"}]}, "Unexpected role"),
    "another role": ({}, {"messages": [{"role": "tool", "content": "s"}]}, "messages.0.role: Input"),
    "a name of a turn": (
        {}, {"messages": [{"role": "user", "name": "a", "content": "s"}]}, "messages.0.name: Extra",
    ),
    "a result of the assistant": ({}, after([RESULT], "so"), "can only be in `user` messages"),
    "an audio in a result": (
        {}, after([CALL], [{**RESULT, "content": [{"type": "audio"}]}]), "does not match any of",
    ),
    "an empty text in a result": (
        {}, after([CALL], [{**RESULT, "content": [{"type": "text", "text": ""}]}]), "must be non-empty",
    ),
    "an empty turn": ({}, after([TEXT], ""), "all messages must have non-empty content"),
    "an empty last turn": ({}, after(""), None),
    "a prefill with a blank": ({}, after("So "), "cannot end with trailing whitespace"),
    "a foreign id": (
        {}, after([{**CALL, "id": "fc.1"}], [{**RESULT, "tool_use_id": "fc.1"}]),
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "a call without result": ({}, after([CALL], "stop"), "without `tool_result` blocks"),
    "a last call": ({}, after([CALL]), "without `tool_result` blocks"),
    "a result without call": ({}, after([TEXT], [RESULT]), "unexpected `tool_use_id` found"),
    "two results": ({}, after([CALL], [RESULT, RESULT]), "each tool_use must have a single result"),
    "results in two turns": (
        {},
        {"messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [CALL, {**CALL, "id": "b"}]},
            {"role": "user", "content": [RESULT]},
            {"role": "user", "content": [{**RESULT, "tool_use_id": "b"}]},
        ]}, None,
    ),
    "no signature": ({}, after([{**THOUGHT, "signature": ""}, TEXT], "so"), "Invalid `signature`"),
    "an image that is none": ({}, image(data="%"), "image.source.base64: invalid base64 data"),
}  # fmt: skip


def test_every_rule_has_its_case():
    assert set(CASES) == {rule.__name__ for rule in RULES["anthropic"]}


def of(more, headers=None):
    return told("anthropic", MESSAGES, BODY, "/v1/messages", headers or {}, "", more)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_takes_a_good_request_and_refuses_a_bad_one(case):
    assert of(case.taken) == []
    found = of(case.refused, case.headers)
    assert len(found) == 1, found
    assert case.words in found[0]


@pytest.mark.parametrize(("headers", "more", "words"), MORE.values(), ids=MORE)
def test_more_requests(headers, more, words):
    found = of(more, headers)
    assert (found == []) if words is None else any(words in text for text in found), found


def test_counting_needs_no_limit_and_takes_fewer_fields():
    body = {name: value for name, value in BODY.items() if name != "max_tokens"}
    path = "/v1/messages/count_tokens"
    assert refusals("anthropic", MESSAGES, path, body) == []
    found = refusals("anthropic", MESSAGES, path, {**body, "stream": True})
    assert found == ["stream: Extra inputs are not permitted"]


def test_rules_are_left_out_by_name():
    body = {**BODY, "user": "me"}
    assert refusals("anthropic", MESSAGES, "/v1/messages", body, without=["known_fields"]) == []


@pytest.mark.parametrize("body", [[], "text", None, 1])
def test_a_body_that_is_no_object_is_refused(body):
    assert refusals("anthropic", MESSAGES, "/v1/messages", body) == [
        "The body is not a JSON object."
    ]


@pytest.mark.parametrize(
    "name", ["messages", "tools", "system", "thinking", "tool_choice", "metadata"]
)
@pytest.mark.parametrize("value", [1, "x", [1, "a", None], {"a": 1}, True])
def test_nonsense_is_no_failure_of_the_rules(name, value):
    assert isinstance(of({name: value}), list)
