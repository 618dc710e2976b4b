"""Rules of OpenAI's Chat Completions API.

Sources: `types/chat/completion_create_params.py` and its parts of OpenAI's Python SDK 3.52;
platform.openai.com/docs/api-reference/chat; error messages quoted in public reports. Other servers
with this API accept more: skip `known_fields`, `key_header` and `model_takes` for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict import _openai as openai
from plugway_testing._strict._rules import Object, Refusal, Request, Rule, objects, words

FIELDS: Final = words("""
    model messages stream stream_options temperature top_p n stop max_tokens
    max_completion_tokens tools tool_choice parallel_tool_calls response_format reasoning_effort
    verbosity metadata user safety_identifier prompt_cache_key prompt_cache_options
    prompt_cache_retention service_tier store seed logit_bias logprobs top_logprobs modalities
    audio prediction presence_penalty frequency_penalty functions function_call web_search_options
    moderation""")
_TURNS: Final[Mapping[str, frozenset[str]]] = {
    "system": frozenset(("role", "content", "name")),
    "developer": frozenset(("role", "content", "name")),
    "user": frozenset(("role", "content", "name")),
    "assistant": frozenset(
        ("role", "content", "name", "tool_calls", "function_call", "refusal", "audio")
    ),
    "tool": frozenset(("role", "content", "tool_call_id")),
    "function": frozenset(("role", "content", "name")),
}
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "system": ("text",),
    "developer": ("text",),
    "tool": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}
_PART: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(("type", kind, "prompt_cache_breakpoint"))
    for kind in ("text", "image_url", "input_audio", "file", "refusal")
}
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS: Final = ("auto", "default", "flex", "scale", "priority")
_MOST_ID: Final = 40
"""`messages[2].tool_calls[0].id`: public reports, "Expected a string with
maximum length 40"."""


def needed_fields(request: Request) -> Iterator[Refusal]:
    """`model` and at least one message: SDK."""
    for name in ("model", "messages"):
        if name not in request.body:
            yield openai.missing(name)
    if request.body.get("messages") == []:
        text = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an"
        )
        yield Refusal(f"{text} empty array instead.", param="messages", code="empty_array")


def known_fields(request: Request) -> Iterator[Refusal]:
    """Only the SDK's fields, also in messages and parts: reports ("Unknown parameter:
    'messages[0].content[0].cache_control'.", "Unrecognized request argument supplied")."""
    for name in request.body.keys() - FIELDS:
        yield openai.unknown(name)
    for index, turn in objects(request.body.get("messages")):
        for name in turn.keys() - _TURNS.get(str(turn.get("role")), frozenset(turn)):
            yield openai.unknown(f"messages[{index}].{name}")
        for at, part in objects(turn.get("content")):
            for name in part.keys() - _PART.get(str(part.get("type")), frozenset(part)):
                yield openai.unknown(f"messages[{index}].content[{at}].{name}")
    for index, tool in objects(request.body.get("tools")):
        allowed = {"name", "description", "parameters", "strict"}
        for name in as_object(tool.get("function")).keys() - allowed:
            yield openai.unknown(f"tools[{index}].function.{name}")
        for name in tool.keys() - {"type", "function", "custom"}:
            yield openai.unknown(f"tools[{index}].{name}")


def enums(request: Request) -> Iterator[Refusal]:
    """Roles, types of parts per role, `reasoning_effort`, `service_tier`: SDK."""
    for index, turn in objects(request.body.get("messages")):
        role = str(turn.get("role"))
        if role not in _TURNS:
            yield openai.not_one_of(f"messages[{index}].role", role, _TURNS)
        for at, part in objects(turn.get("content")):
            known = _PARTS.get(role, ())
            if part.get("type") not in known:
                where = f"messages[{index}].content[{at}].type"
                yield openai.not_one_of(where, part.get("type"), known or ("text",))
    for name, values in (("reasoning_effort", _EFFORTS), ("service_tier", _TIERS)):
        if request.body.get(name) is not None and request.body[name] not in values:
            yield openai.not_one_of(name, request.body[name], values)


def contents(request: Request) -> Iterator[Refusal]:
    """Every message has content; null only for an assistant's message with calls: SDK ("Required
    unless `tool_calls`"); report ("Invalid value for 'content': expected a string, got null.")."""
    for index, turn in objects(request.body.get("messages")):
        content, param = turn.get("content"), f"messages[{index}].content"
        calls = turn.get("tool_calls") or turn.get("function_call") or turn.get("refusal")
        if content is None and not (turn.get("role") == "assistant" and (calls or "audio" in turn)):
            text = "Invalid value for 'content': expected a string, got null."
            yield Refusal(text, param=param)
        elif content is not None and not isinstance(content, str | list):
            text = f"Invalid type for '{param}': expected one of a string or array of objects."
            yield Refusal(text, param=param, code="invalid_type")
        elif content == []:
            yield openai.empty(param)
        for at, part in objects(content):
            if part.get("type") == "text" and not isinstance(part.get("text"), str):
                yield openai.missing(f"{param}[{at}].text")
        if turn.get("tool_calls") == []:
            yield openai.empty(f"messages[{index}].tool_calls")
        if "name" in turn and turn.get("role") != "tool":
            yield from openai.name_of(f"messages[{index}].name", turn["name"])


def calls(request: Request) -> Iterator[Refusal]:
    """Calls have an id of at most 40 characters, type, name, and arguments as text: SDK
    `chat_completion_message_function_tool_call_param.py`; reports (maximum length 40)."""
    for index, turn in objects(request.body.get("messages")):
        for at, call in objects(turn.get("tool_calls")):
            place = f"messages[{index}].tool_calls[{at}]"
            function = as_object(call.get("function"))
            if not isinstance(call.get("id"), str) or not call["id"]:
                yield openai.missing(f"{place}.id")
            elif len(call["id"]) > _MOST_ID:
                yield openai.too_long(f"{place}.id", _MOST_ID, len(call["id"]))
            if call.get("type") not in ("function", "custom"):
                yield openai.missing(f"{place}.type")
            if call.get("type") == "function":
                yield from openai.name_of(f"{place}.function.name", function.get("name"))
                if not isinstance(function.get("arguments"), str):
                    yield openai.missing(f"{place}.function.arguments")
            for name in call.keys() - {"id", "type", "function", "custom"}:
                if name == "index":
                    yield openai.unknown(f"{place}.index")


def pairs(request: Request) -> Iterator[Refusal]:
    """Each call has a tool message before any other turn, and each tool message a call:
    function-calling guide; reports quote the errors (openai/openai-python#1351)."""
    waiting: list[str] = []
    seen: list[str] = []
    for index, turn in [*objects(request.body.get("messages")), (-1, dict[str, Any]())]:
        if turn.get("role") == "tool":
            if turn.get("tool_call_id") in waiting:
                waiting.remove(str(turn["tool_call_id"]))
            else:
                text = "messages with role 'tool' must be a response to a preceeding message with"
                param = f"messages.[{index}].role"
                yield Refusal(f"Invalid parameter: {text} 'tool_calls'.", param=param)
            continue
        if waiting:
            text = "An assistant message with 'tool_calls' must be followed by tool messages"
            more = "responding to each 'tool_call_id'. The following tool_call_ids did not have"
            param = f"messages.[{index}].role" if index >= 0 else "messages"
            yield Refusal(f"{text} {more} response messages: {', '.join(waiting)}", param=param)
        waiting = [str(call.get("id")) for _, call in objects(turn.get("tool_calls"))]
        for call in waiting:
            if waiting.count(call) > 1 or call in seen:
                text = f"Duplicate value for 'tool_call_id' of '{call}' in message[{index}]."
                yield Refusal(text, param=f"messages.[{index}].tool_calls")
        seen = waiting


def tools(request: Request) -> Iterator[Refusal]:
    """At most 128 tools, each a function with a name and a schema: SDK ("A max of 128 functions
    are supported"); CLIProxyAPI#2688 ("maximum number of items is 128")."""
    found = as_list(request.body.get("tools"))
    if len(found) > openai.MOST_TOOLS:
        yield openai.too_many("tools", openai.MOST_TOOLS, len(found))
    for index, tool in objects(found):
        if tool.get("type") not in ("function", "custom"):
            yield openai.not_one_of(
                f"tools[{index}].type", tool.get("type"), ("function", "custom")
            )
        if tool.get("type") == "function":
            if isinstance(tool.get("function"), dict):
                yield from openai.function(f"tools[{index}].function", as_object(tool["function"]))
            else:
                yield openai.missing(f"tools[{index}].function")


def tool_choice(request: Request) -> Iterator[Refusal]:
    """`none`, `auto`, `required`, or an offered function: SDK; report ("Tool choice 'function' not
    found in 'tools' parameter.")."""
    choice = request.body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        yield openai.not_one_of("tool_choice", choice, ("none", "auto", "required"))
    named = as_object(as_object(choice).get("function")).get("name")
    offered = [
        as_object(tool.get("function")).get("name")
        for _, tool in objects(request.body.get("tools"))
    ]
    if isinstance(choice, dict) and as_object(choice).get("type") not in (
        "function",
        "custom",
        "allowed_tools",
    ):
        yield openai.missing("tool_choice.type")
    if named is not None and offered and named not in offered:
        text = "Invalid value for 'tool_choice': Tool choice 'function' not found in 'tools'"
        yield Refusal(f"{text} parameter.", param="tool_choice")


def output(request: Request) -> Iterator[Refusal]:
    """`stream_options` only with `stream`, at most 4 stop sequences, a limit of at least 1,
    formats: API reference; reports quote the errors."""
    if request.body.get("stream_options") is not None and request.body.get("stream") is not True:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        yield Refusal(text, param="stream_options")
    stops = as_list(request.body.get("stop"))
    if len(stops) > 4:
        yield openai.too_many("stop", 4, len(stops))
    for name in ("max_tokens", "max_completion_tokens"):
        value = request.body.get(name)
        if isinstance(value, int) and value < 1:
            text = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got"
            message = f"{text} {value} instead."
            yield Refusal(message, param=name, code="integer_below_min_value")
    if {"max_tokens", "max_completion_tokens"} <= request.body.keys():
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        yield Refusal(text, param="max_tokens", code="invalid_parameter_combination")
    found = as_object(request.body.get("response_format"))
    if found and found.get("type") not in ("text", "json_object", "json_schema"):
        values = ("json_object", "json_schema", "text")
        yield openai.not_one_of("response_format.type", found.get("type"), values)
    if found.get("type") == "json_schema":
        param = "response_format.json_schema"
        yield from openai.format_of(param, as_object(found.get("json_schema")))
    if found.get("type") == "json_object" and not _says_json(request.body):
        text = "'messages' must contain the word 'json' in some form, to use 'response_format' of"
        yield Refusal(f"{text} type 'json_object'.", param="messages")


def _says_json(body: Object) -> bool:
    return (
        "json" in json.dumps([t.get("content") for _, t in objects(body.get("messages"))]).lower()
    )


def model_takes(request: Request) -> Iterator[Refusal]:
    """Reasoning models: no `max_tokens`, `stop` only for GPT-5 chat, from GPT-5.4 on no functions
    with an effort; others: no `reasoning_effort`. "Reasoning models" and "Using GPT-5" guides;
    moltis-org/moltis#1298 and others quote the errors."""
    if openai.reasons(request.model):
        if request.body.get("max_tokens") is not None:
            yield openai.unsupported("max_tokens", "Use 'max_completion_tokens' instead.")
        if request.body.get("stop") is not None:
            yield openai.unsupported("stop")
        effort = request.body.get("reasoning_effort")
        thinks = effort not in (None, "none") and openai.effortless_on_chat(request.model)
        if thinks and request.body.get("tools"):
            text = f"Function tools with reasoning_effort are not supported for {request.model} in"
            more = "/v1/chat/completions. To use function tools, use /v1/responses or set"
            message = f"{text} {more} reasoning_effort to 'none'."
            yield Refusal(message, param="reasoning_effort")
    elif request.model.startswith(("gpt-3.5", "gpt-4")) and "reasoning_effort" in request.body:
        yield Refusal("Unrecognized request argument supplied: reasoning_effort")


RULES: Final[tuple[Rule, ...]] = (
    openai.key_header,
    openai.content_type,
    needed_fields,
    known_fields,
    enums,
    contents,
    calls,
    pairs,
    tools,
    openai.only_beside_tools,
    tool_choice,
    output,
    openai.lengths,
    openai.numbers,
    openai.sampling,
    model_takes,
)
