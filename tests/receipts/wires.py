"""Reads what arrived at a server of another API as `facts` reads the Messages API."""

from __future__ import annotations

import json
from typing import Any

from tests.receipts.facts import Facts, Reading

_CHOICES = {"required": "any", "none": "none", "ANY": "any", "NONE": "none"}


def _data(url: str) -> str:
    return url.partition(";base64,")[2] or url


def read_chat(body: dict[str, Any]) -> Facts:
    """A request of Chat Completions."""
    reading = Reading()
    own = ("model", "stream", "messages", "tools", "tool_choice", "parallel_tool_calls")
    names = {"stop": "stop_sequences", "max_completion_tokens": "max_tokens"}
    for name in body.keys() - {*own, "response_format"}:
        reading.add(names.get(name, name), body[name])
    if made := body.get("response_format"):
        reading.add("output_config.format")
        reading.schema(made["json_schema"]["schema"], "answer")
    _chat_tools(reading, body)
    first = True
    for message in body["messages"]:
        content = message["content"] or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "system" and first:
            reading.system([part["text"] for part in parts])
            continue
        first = False
        if message["role"] == "tool":
            reading.add("result", message["tool_call_id"])
        for part in parts:
            _chat_part(reading, message["role"], part)
        for call in message.get("tool_calls", ()):
            function = call["function"]
            reading.add("call", [call["id"], function["name"], json.loads(function["arguments"])])
    return reading.facts


def _chat_tools(reading: Reading, body: dict[str, Any]) -> None:
    for tool in body.get("tools", ()):
        _function(reading, tool["function"], "parameters")
    _choice(reading, body)


def _choice(reading: Reading, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        named = choice.get("function", choice)["name"]
        reading.add("tool_choice", f"tool {named}")
    elif choice != "auto":
        reading.add("tool_choice", _CHOICES[choice])
    if body.get("parallel_tool_calls") is False:
        reading.add("one call")


def _function(reading: Reading, function: dict[str, Any], schema: str) -> None:
    reading.add("tools.name", function["name"])
    reading.add("tools.description", function.get("description", ""))
    reading.schema(function.get(schema, _EMPTY), function["name"][:8])
    if function.get("strict"):
        reading.add("tools.strict", function["name"][:8])


_EMPTY = {"type": "object", "properties": {}}


def _chat_part(reading: Reading, role: str, part: dict[str, Any]) -> None:
    match part["type"]:
        case "text":
            reading.said(role, part["text"])
        case "image_url":
            reading.add("image", f"{role} {_data(part['image_url']['url'])}")
        case "file":
            _file(reading, role, part["file"])
        case other:
            reading.add(other, part)


def _file(reading: Reading, role: str, file: dict[str, Any]) -> None:
    where = next(file[name] for name in ("file_data", "file_url", "file_id") if name in file)
    reading.add("document", f"{role} {_data(where)}")
    if "filename" in file:
        reading.add("document.title", file["filename"])


def read_responses(body: dict[str, Any]) -> Facts:
    """A request of the Responses API."""
    reading = Reading()
    own = ("model", "stream", "input", "instructions", "tools", "tool_choice", "text")
    names = {"max_output_tokens": "max_tokens"}
    for name in body.keys() - {*own, "parallel_tool_calls"}:
        reading.add(names.get(name, name), body[name])
    if made := body.get("text"):
        reading.add("output_config.format")
        reading.schema(made["format"]["schema"], "answer")
    reading.system([body["instructions"]] if "instructions" in body else [])
    for tool in body.get("tools", ()):
        _function(reading, tool, "parameters")
    _choice(reading, body)
    for item in body["input"]:
        _item(reading, item)
    return reading.facts


def _item(reading: Reading, item: dict[str, Any]) -> None:
    match item["type"]:
        case "message":
            role = {"developer": "system"}.get(item["role"], item["role"])
            for part in item["content"]:
                _input_part(reading, role, part)
        case "function_call":
            reading.add("call", [item["call_id"], item["name"], json.loads(item["arguments"])])
        case "function_call_output":
            reading.add("result", item["call_id"])
            output = item["output"]
            parts = [{"type": "input_text", "text": output}] if isinstance(output, str) else output
            for part in parts:
                _input_part(reading, "tool", part)
        case other:
            reading.add(other, item)


def _input_part(reading: Reading, role: str, part: dict[str, Any]) -> None:
    match part["type"]:
        case "input_text" | "output_text":
            reading.said(role, part["text"])
        case "input_image":
            reading.add("image", f"{role} {_data(part['image_url'])}")
        case "input_file":
            _file(reading, role, part)
        case other:
            reading.add(other, part)


def read_gemini(body: dict[str, Any]) -> Facts:
    """A request of `generateContent`."""
    reading = Reading()
    for name in body.keys() - {
        *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig")
    }:
        reading.add(name, body[name])
    config = dict(body["generationConfig"])
    if config.pop("responseMimeType", None):
        reading.add("output_config.format")
        reading.schema(config.pop("responseSchema", _EMPTY), "answer")
    names = {
        "maxOutputTokens": "max_tokens",
        "stopSequences": "stop_sequences",
        "topP": "top_p",
        "topK": "top_k",
    }
    for name, value in config.items():
        reading.add(names.get(name, name), value)
    system = body.get("systemInstruction", {}).get("parts", ())
    reading.system([part["text"] for part in system])
    for tool in body.get("tools", ()):
        for function in tool["functionDeclarations"]:
            _function(reading, function, "parameters")
    if choice := body.get("toolConfig", {}).get("functionCallingConfig"):
        named = choice.get("allowedFunctionNames", [None])[0]
        reading.add("tool_choice", f"tool {named}" if named else _CHOICES[choice["mode"]])
    for content in body["contents"]:
        role = {"model": "assistant"}.get(content["role"], content["role"])
        for part in content["parts"]:
            _gemini_part(reading, role, part)
    return reading.facts


def _gemini_part(reading: Reading, role: str, part: dict[str, Any]) -> None:
    if "thoughtSignature" in part:
        reading.add("thoughtSignature", part["thoughtSignature"])
    if call := part.get("functionCall"):
        reading.add("call", [call["id"], call["name"], call["args"]])
    elif result := part.get("functionResponse"):
        reading.add("result", result["id"])
        response = result["response"]
        if "error" in response:
            reading.add("is_error", result["id"])
        reading.said("tool", response.get("error") or response["output"])
    elif media := part.get("inlineData"):
        kind = "image" if media["mimeType"].startswith("image/") else "document"
        reading.add(kind, f"{role} {media['data']}")
    else:
        reading.said(role, part["text"])
