"""Requests of clients of each dialect, and how they detect a reply and an error."""

from __future__ import annotations

import anthropic.types
import openai.types.chat
import openai.types.responses

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
BASH = {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}}}  # fmt: skip
TOOLS = [{"name": "Read", "input_schema": SCHEMA}, {"name": "Bash", "input_schema": BASH}]
FORMAT = {"type": "json_schema", "schema": {**SCHEMA, "additionalProperties": False}}
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
}
WHOLE = {
    "messages": anthropic.types.Message,
    "chat": openai.types.chat.ChatCompletion,
    "responses": openai.types.responses.Response,
}
FAILED = (b"event: error", b"event: response.failed", b'data: {"error"')
"""How a stream reports a failure."""


def asked(dialect, model, stream, chance):
    """A request as clients of that dialect send it."""
    tools = TOOLS if chance.random() < 0.7 else []
    body = {"model": model, "stream": stream}
    if dialect == "messages":
        body |= {"max_tokens": 2000, "messages": [{"role": "user", "content": "go"}]}
        if chance.random() < 0.3:
            body["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        elif tools and chance.random() < 0.2:
            body["tool_choice"] = {"type": "any"}
        if chance.random() < 0.1:
            body["output_config"] = {"format": FORMAT}
        if chance.random() < 0.1:
            body["stop_sequences"] = ["END"]
        if chance.random() < 0.1:
            tools = [*tools, {"type": "web_search_20250305", "name": "web_search"}]
        return body | ({"tools": tools} if tools else {})
    made = [{"name": tool["name"], "parameters": tool["input_schema"]} for tool in tools]
    if dialect == "chat":
        body["messages"] = [{"role": "user", "content": "go"}]
        made = [{"type": "function", "function": tool} for tool in made]
        if stream and chance.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        if chance.random() < 0.1:
            body["stop"] = ["END"]
    else:
        body["input"] = "go"
        made = [{"type": "function", **tool} for tool in made]
    return body | ({"tools": made} if made else {})


def is_error(dialect, told):
    """Whether an error has the format of its dialect."""
    error = told["error"]
    if not dialect:  # an upstream of the same API: the envelope is its own
        return
    assert isinstance(error["message"], str)
    if dialect == "messages":
        assert told["type"] == "error"
        assert isinstance(error["type"], str)
    else:
        assert {"type", "code"} <= error.keys()
