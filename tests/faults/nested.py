"""Requests and replies of each API with a value that is nested very deeply, in each place."""

from __future__ import annotations

import json

from tests.faults.answers import event, streamed, whole

SHAPES = {
    "lists": ("[", "]"),
    "objects": ('{"a":', "}"),
    "properties": ('{"type":"object","properties":{"a":', "}}"),
    "items": ('{"type":"array","items":', "}"),
    "choices": ('{"anyOf":[{"type":"null"},', "]}"),
    "all": ('{"allOf":[', "]}"),
    "results": ('{"type":"tool_result","tool_use_id":"toolu_1","content":[', "]}"),
    "parts": ('{"type":"document","source":{"type":"content","content":[', "]}}"),
}
"""What opens and closes a level; each adds one or a few levels."""
INNER = {"properties": "{}", "items": "{}", "choices": "{}", "all": "{}"}
HERE = "@nested@"


def nested(shape, levels):
    """JSON text of about that many levels."""
    opening, closing = SHAPES[shape]
    each = opening.count("{") + opening.count("[") - opening.count("]") - opening.count("}")
    count = max(1, levels // each)
    return opening * count + INNER.get(shape, "1") + closing * count


def filled(body, value):
    """`body` as bytes, with `value` in the place of `HERE`, and as a text in the place of a text."""
    text = json.dumps(body)
    quoted = json.dumps(value)[1:-1]
    text = text.replace(f'"{HERE}"', value).replace(HERE, quoted)
    return text.encode()


SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}, "more": {}}}
DEEP = {"path": "a", "more": HERE}
AS_TEXT = '{"path": "a", "more": ' + HERE + "}"


def _messages():
    tool = {"name": "Read", "description": "d", "input_schema": SCHEMA}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}

    def body(call=call, result=result, tool=tool, **more):
        turns = [("user", "go"), ("assistant", [call]), ("user", [result])]
        messages = [{"role": role, "content": content} for role, content in turns]
        return {"max_tokens": 9, "messages": messages, "tools": [tool], **more}

    yield "schema", body(tool={**tool, "input_schema": HERE})
    yield (
        "property",
        body(tool={**tool, "input_schema": {"type": "object", "properties": {"more": HERE}}}),
    )
    yield "input", body(call={**call, "input": HERE})
    yield "argument", body(call={**call, "input": DEEP})
    yield "result", body(result={**result, "content": HERE})
    yield "part of a result", body(result={**result, "content": [HERE]})
    yield "beside a result", body(result={**result, "more": HERE})
    yield "content", {**body(), "messages": [{"role": "user", "content": HERE}]}
    yield "block", {**body(), "messages": [{"role": "user", "content": [HERE]}]}
    yield "turn", {**body(), "messages": [{"role": "user", "content": "go"}, HERE]}
    yield "metadata", body(metadata=HERE)
    yield "system", body(system=[HERE])
    yield "thinking", body(thinking=HERE)
    yield "choice", body(tool_choice=HERE)
    yield "format", body(output_config={"format": {"type": "json_schema", "schema": HERE}})
    yield "unknown field", body(more=HERE)
    yield "unknown tool", {**body(), "tools": [tool, HERE]}


def _chat():
    function = {"name": "Read", "description": "d", "parameters": SCHEMA}
    call = {"name": "Read", "arguments": '{"path": "a"}'}

    def body(function=function, call=call, result="ok", **more):
        calls = [{"id": "call_1", "type": "function", "function": call}]
        messages = [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_1", "content": result},
        ]
        tools = [{"type": "function", "function": function}]
        return {"messages": messages, "tools": tools, "max_tokens": 9, **more}

    yield "schema", body(function={**function, "parameters": HERE})
    yield "arguments", body(call={**call, "arguments": HERE + " "})
    yield "argument", body(call={**call, "arguments": AS_TEXT})
    yield "argument as an object", body(call={**call, "arguments": DEEP})
    yield "result", body(result=HERE)
    yield "content", {**body(), "messages": [{"role": "user", "content": [HERE]}]}
    yield "metadata", body(metadata=HERE)
    yield "choice", body(tool_choice=HERE)
    yield (
        "format",
        body(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": HERE}}),
    )
    yield "unknown field", body(more=HERE)


def _responses():
    tool = {"type": "function", "name": "Read", "description": "d", "parameters": SCHEMA}
    call = {
        "type": "function_call",
        "call_id": "call_1",
        "name": "Read",
        "arguments": '{"path": "a"}',
    }

    def body(tool=tool, call=call, result="ok", **more):
        items = [
            {"role": "user", "content": "go"},
            call,
            {"type": "function_call_output", "call_id": "call_1", "output": result},
        ]
        return {"input": items, "tools": [tool], "max_output_tokens": 9, **more}

    yield "schema", body(tool={**tool, "parameters": HERE})
    yield "arguments", body(call={**call, "arguments": HERE + " "})
    yield "argument", body(call={**call, "arguments": AS_TEXT})
    yield "result", body(result=HERE)
    yield "part of a result", body(result=[HERE])
    yield "content", {**body(), "input": [{"role": "user", "content": [HERE]}]}
    yield "item", {**body(), "input": [{"role": "user", "content": "go"}, HERE]}
    yield "metadata", body(metadata=HERE)
    yield "choice", body(tool_choice=HERE)
    yield "format", body(text={"format": {"type": "json_schema", "name": "n", "schema": HERE}})
    yield "unknown field", body(more=HERE)


def _gemini():
    tool = {"name": "Read", "description": "d", "parametersJsonSchema": SCHEMA}

    def body(tool=tool, args=None, result=None, **more):
        contents = [
            {"role": "user", "parts": [{"text": "go"}]},
            {
                "role": "model",
                "parts": [{"functionCall": {"name": "Read", "args": args or {"path": "a"}}}],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "Read", "response": result or {"a": 1}}}],
            },
        ]
        limit = {"generationConfig": {"maxOutputTokens": 9}}
        return {"contents": contents, "tools": [{"functionDeclarations": [tool]}], **limit, **more}

    yield "schema", body(tool={**tool, "parametersJsonSchema": HERE})
    yield "own schema", body(tool={"name": "Read", "description": "d", "parameters": HERE})
    yield "arguments", body(args=HERE)
    yield "argument", body(args=DEEP)
    yield "result", body(result=HERE)
    yield "part of a result", body(result={"a": HERE})
    yield "part", {**body(), "contents": [{"role": "user", "parts": [HERE]}]}
    yield (
        "format",
        body(
            generationConfig={
                "responseMimeType": "application/json",
                "responseJsonSchema": HERE,
                "maxOutputTokens": 9,
            }
        ),
    )
    yield "labels", body(labels=HERE)
    yield "choice", body(toolConfig=HERE)
    yield "unknown field", body(more=HERE)


REQUESTS = {
    "messages": list(_messages()),
    "chat": list(_chat()),
    "responses": list(_responses()),
    "gemini": list(_gemini()),
}
"""By API: the places, and a request with `HERE` in each."""


def request_of(dialect, model, body, value, stream):
    """Path and bytes of a request."""
    if dialect == "gemini":
        method = "streamGenerateContent" if stream else "generateContent"
        return f"/v1beta/models/{model}:{method}", filled(body, value)
    path = {
        "messages": "/v1/messages",
        "chat": "/v1/chat/completions",
        "responses": "/v1/responses",
    }
    return path[dialect], filled({"model": model, "stream": stream, **body}, value)


def answers(api, value, stream):
    """Replies of that API with `value` in each place: the name, the status, and the bytes."""
    arguments = AS_TEXT.replace(HERE, value)
    marker = AS_TEXT.replace(HERE, json.dumps(HERE))
    if stream:
        usual = streamed(api)
        if api == "gemini":
            pieces = [p.replace(json.dumps(HERE).encode(), value.encode()) for p in streamed(api, calls=[("Read", marker)])]  # fmt: skip
        else:
            pieces = streamed(api, calls=[("Read", arguments)])
        yield "arguments", 200, b"".join(pieces)
        cut = usual[0].rstrip()
        yield (
            "beside an event",
            200,
            cut[:-1] + b',"more":' + value.encode() + b"}\n\n" + b"".join(usual[1:]),
        )
        half = b',"half":"\\ud800","more":' + value.encode() + b"}\n\n"
        yield "beside half a pair", 200, cut[:-1] + half + b"".join(usual[1:])
        yield "event", 200, b"".join([*usual[:2], event(value.encode()), *usual[2:]])
        inner = b'{"type":"overloaded_error","code":529,"message":"no","more":' + value.encode()
        failed = b"event: error\n" + event(b'{"type":"error","error":' + inner + b"}}")
        yield "error before content", 200, failed
        yield "error after content", 200, b"".join([*usual[:3], failed])
    else:
        usual = json.dumps(whole(api)).encode()
        body = json.dumps(whole(api, calls=[("Read", marker)])).encode()
        body = body.replace(json.dumps(json.dumps(HERE))[1:-1].encode(), json.dumps(value)[1:-1].encode())  # fmt: skip
        yield "arguments", 200, body.replace(json.dumps(HERE).encode(), value.encode())
        yield "beside the rest", 200, usual[:-1] + b',"more":' + value.encode() + b"}"
        half = b',"half":"\\ud800","more":'
        yield "beside half a pair", 200, usual[:-1] + half + value.encode() + b"}"
        yield "usage", 200, usual[:-1] + b',"usage":' + value.encode() + b"}"
        yield "whole", 200, value.encode()
    yield "error", 400, b'{"error":{"message":"no","more":' + value.encode() + b"}}"
    yield "message of an error", 400, b'{"error":{"message":' + value.encode() + b"}}"
