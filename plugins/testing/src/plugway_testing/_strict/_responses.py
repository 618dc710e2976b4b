"""Rules of OpenAI's Responses API.

Sources: `types/responses/response_create_params.py` and its parts of OpenAI's Python SDK 3.52;
platform.openai.com/docs/api-reference/responses and the "Reasoning models" guide; error messages
quoted in public reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict import _openai as openai
from plugway_testing._strict._rules import Object, Refusal, Request, Rule, objects, words

FIELDS: Final = words("""
    model input instructions stream stream_options temperature top_p max_output_tokens
    max_tool_calls tools tool_choice parallel_tool_calls text reasoning include metadata user
    safety_identifier prompt_cache_key prompt_cache_options prompt_cache_retention service_tier
    store previous_response_id conversation prompt truncation background top_logprobs
    context_management moderation access_programs image client_metadata""")
"""The SDK's, and `client_metadata`, which Codex sends to OpenAI's API itself (seen with 0.171)."""
_ITEMS: Final[Mapping[str, frozenset[str]]] = {
    "message": frozenset(("type", "role", "content", "id", "status", "phase")),
    "reasoning": frozenset(("type", "id", "summary", "content", "encrypted_content", "status")),
    "function_call": words("type id call_id name arguments status namespace async caller"),
    "function_call_output": words("type id call_id output status name namespace caller"),
    "custom_tool_call": words("type id call_id name input namespace async caller"),
    "custom_tool_call_output": words("type id call_id output caller"),
    "item_reference": frozenset(("type", "id")),
}
"""Fields of items; other kinds are not checked."""
_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "web_search_call": "ws",
}
_PARTS: Final[Mapping[str, frozenset[str]]] = {
    "input_text": frozenset(("type", "text", "prompt_cache_breakpoint")),
    "input_image": frozenset(("type", "detail", "file_id", "image_url", "prompt_cache_breakpoint")),
    "input_file": words("type detail file_data file_id file_url filename prompt_cache_breakpoint"),
    "output_text": frozenset(("type", "text", "annotations", "logprobs")),
    "refusal": frozenset(("type", "refusal")),
}
_OUTPUT_PARTS: Final = ("output_text", "refusal")
_TEXTS: Final = ("input_text", "output_text")
_INPUT_PARTS: Final = ("input_text", "input_image", "input_file")
_ROLES: Final = ("assistant", "system", "developer", "user")
_FUNCTION: Final = words(
    "type name description parameters strict defer_loading allowed_callers output_schema async"
)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_TIERS: Final = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
_LEAST: Final = 16
_MOST_ID: Final = 64
_CALLS: Final = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}


def items(request: Request) -> list[tuple[int, str, Object]]:
    """Index, type and content of each item; the type of a message is optional."""
    found: list[tuple[int, str, Object]] = []
    for index, item in objects(request.body.get("input")):
        found.append((index, str(item.get("type") or "message"), item))
    return found


def needed_fields(request: Request) -> Iterator[Refusal]:
    """`model` and an input: SDK; report ("Missing required parameter: 'input'.")."""
    if "model" not in request.body:
        yield openai.missing("model")
    given = ("input", "prompt", "previous_response_id", "conversation")
    if not any(request.body.get(name) for name in given):
        yield openai.missing("input")


def known_fields(request: Request) -> Iterator[Refusal]:
    """Only the SDK's fields, also in items, parts and functions: reports ("Unknown parameter:
    'input[0].content[0].cache_control'")."""
    for name in request.body.keys() - FIELDS:
        yield openai.unknown(name)
    for index, kind, item in items(request):
        for name in item.keys() - _ITEMS.get(kind, frozenset(item)):
            yield openai.unknown(f"input[{index}].{name}")
        for place, part in _parts(index, item):
            for name in part.keys() - _PARTS.get(str(part.get("type")), frozenset(part)):
                yield openai.unknown(f"{place}.{name}")
    for index, tool in objects(request.body.get("tools")):
        if tool.get("type") == "function":
            for name in tool.keys() - _FUNCTION:
                yield openai.unknown(f"tools[{index}].{name}")


def _parts(index: int, item: Object) -> Iterator[tuple[str, Object]]:
    for name in ("content", "output"):
        for at, part in objects(item.get(name)):
            yield f"input[{index}].{name}[{at}]", part


def enums(request: Request) -> Iterator[Refusal]:
    """Roles, `reasoning.effort`, `service_tier`, `truncation`: SDK."""
    for index, kind, item in items(request):
        if kind == "message" and item.get("role") not in _ROLES:
            yield openai.not_one_of(f"input[{index}].role", item.get("role"), _ROLES)
    effort = as_object(request.body.get("reasoning")).get("effort")
    found = (
        ("reasoning.effort", effort, _EFFORTS),
        ("service_tier", request.body.get("service_tier"), _TIERS),
        ("truncation", request.body.get("truncation"), ("auto", "disabled")),
    )
    for name, value, values in found:
        if value is not None and value not in values:
            yield openai.not_one_of(name, value, values)


def contents(request: Request) -> Iterator[Refusal]:
    """Content is required: `output_text` or a refusal for the assistant, input parts for others:
    SDK; reports ("Supported values are: 'output_text' and 'refusal'.")."""
    for index, kind, item in items(request):
        if kind == "message" and item.get("content") is None:
            yield openai.missing(f"input[{index}].content")
        if kind == "reasoning":
            yield from _reasoning(f"input[{index}]", item)
            continue
        is_output = kind == "message" and item.get("role") == "assistant"
        known = _OUTPUT_PARTS if is_output else _INPUT_PARTS
        for place, part in _parts(index, item):
            if part.get("type") not in known:
                yield openai.not_one_of(place, part.get("type"), known)
            elif part["type"] in _TEXTS and not isinstance(part.get("text"), str):
                yield openai.missing(f"{place}.text")


def _reasoning(place: str, item: Object) -> Iterator[Refusal]:
    if not isinstance(item.get("summary"), list):
        yield openai.missing(f"{place}.summary")
    if content := as_list(item.get("content")):
        yield openai.too_many(f"{place}.content", 0, len(content))


def item_ids(request: Request) -> Iterator[Refusal]:
    """Ids start with the prefix of their kind, have at most 64 characters and are unique: reports
    ("Expected an ID that begins with 'fc'", "Duplicate item found with id")."""
    seen: set[str] = set()
    for index, kind, item in items(request):
        known = item.get("id")
        if not isinstance(known, str):
            continue
        param, prefix = f"input[{index}].id", _PREFIXES.get(kind)
        if prefix and not known.startswith(prefix):
            text = f"Invalid '{param}': '{known}'. Expected an ID that begins with '{prefix}'."
            yield Refusal(text, param=param, code="invalid_value")
        if len(known) > _MOST_ID:
            yield openai.too_long(param, _MOST_ID, len(known))
        if known in seen:
            text = f"Duplicate item found with id {known}. Remove duplicate items from your input"
            yield Refusal(f"{text} and try again.", param="input")
        seen.add(known)


def calls(request: Request) -> Iterator[Refusal]:
    """Required fields of calls and outputs: SDK (`Required`); reports ("Invalid
    'input[7].call_id': string too long. Expected a string with maximum length 64")."""
    needed = {
        "function_call": ("call_id", "name", "arguments"),
        "custom_tool_call": ("call_id", "name", "input"),
        "function_call_output": ("call_id", "output"),
        "custom_tool_call_output": ("call_id", "output"),
    }
    for index, kind, item in items(request):
        for name in needed.get(kind, ()):
            if item.get(name) is None or (item[name] == "" and name in ("call_id", "name")):
                yield openai.missing(f"input[{index}].{name}")
        call = item.get("call_id")
        if isinstance(call, str) and len(call) > _MOST_ID:
            yield openai.too_long(f"input[{index}].call_id", _MOST_ID, len(call))
        if kind in _CALLS and isinstance(item.get("name"), str):
            yield from openai.name_of(f"input[{index}].name", item["name"])


def pairs(request: Request) -> Iterator[Refusal]:
    """Each call has an output later in the input, and each output an earlier call, unless the
    server stores the rest: function-calling guide; reports (bytedance/trae-agent#358)."""
    if request.body.get("previous_response_id") or request.body.get("conversation"):
        return
    asked: dict[str, int] = {}
    answered: set[str] = set()
    for _index, kind, item in items(request):
        call = str(item.get("call_id"))
        if kind in _CALLS:
            asked[call] = asked.get(call, 0) + 1
        elif kind in _CALLS.values():
            answered.add(call)
            if call not in asked:
                text = f"No tool call found for function call output with call_id {call}."
                yield Refusal(text, param="input")
    for call, times in asked.items():
        if call not in answered:
            yield Refusal(f"No tool output found for function call {call}.", param="input")
        if times > 1:
            yield Refusal(
                f"Duplicate function call with call_id {call} in the input.", param="input"
            )


def reasoning_items(request: Request) -> Iterator[Refusal]:
    """A reasoning item directly precedes its output, and with `store: false` it has its encrypted
    content: "Reasoning models" guide; vercel/ai#7099."""
    found = items(request)
    for at, (_index, kind, item) in enumerate(found):
        if kind != "reasoning":
            continue
        after = found[at + 1][2] if at + 1 < len(found) else {}
        kind_after = str(after.get("type") or "message")
        others = kind_after in (*_CALLS.values(), "message") and after.get("role") != "assistant"
        if not after or others:
            text = "of type 'reasoning' was provided without its required following item."
            yield Refusal(f"Item '{item.get('id')}' {text}", param="input")
        if request.body.get("store") is False and not item.get("encrypted_content"):
            yield _not_stored(item)


def _not_stored(item: Object) -> Refusal:
    text = f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set"
    more = "to false. Try again with `store` set to true, or remove this item from your input."
    return Refusal(f"{text} {more}", 404, param="input")


def references(request: Request) -> Iterator[Refusal]:
    """No reference to an item that was not stored: report (`@ai-sdk/openai`, "Items are not
    persisted when `store` is set to false")."""
    for _index, kind, item in items(request):
        if kind == "item_reference" and request.body.get("store") is False:
            yield _not_stored(item)


def tools(request: Request) -> Iterator[Refusal]:
    """At most 128 tools; a function has its name, schema and `strict` beside the type: SDK
    `function_tool_param.py`; report ("Missing required parameter: 'tools[0].name'.")."""
    found = as_list(request.body.get("tools"))
    if len(found) > openai.MOST_TOOLS:
        yield openai.too_many("tools", openai.MOST_TOOLS, len(found))
    for index, tool in objects(found):
        if not isinstance(tool.get("type"), str):
            yield openai.missing(f"tools[{index}].type")
        if tool.get("type") == "function":
            # Without the field the API makes the function strict if possible.
            yield from openai.function(f"tools[{index}]", tool)


def tool_choice(request: Request) -> Iterator[Refusal]:
    """A keyword, or an offered tool: SDK; report ("Tool choice 'function' not found in 'tools'
    parameter.")."""
    choice = request.body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        yield openai.not_one_of("tool_choice", choice, ("none", "auto", "required"))
    named = as_object(choice)
    offered = [tool.get("name") for _, tool in objects(request.body.get("tools"))]
    if named.get("type") == "function" and named.get("name") not in offered:
        text = "Tool choice 'function' not found in 'tools' parameter."
        yield Refusal(text, param="tool_choice")
    if "function" in named:
        yield openai.unknown("tool_choice.function")


def output(request: Request) -> Iterator[Refusal]:
    """`max_output_tokens` from 16, formats, "json" with `json_object`: reports quote the errors."""
    most = request.body.get("max_output_tokens")
    if isinstance(most, int) and most < _LEAST:
        text = "Invalid 'max_output_tokens': integer below minimum value."
        more = f"Expected a value >= {_LEAST}, but got {most} instead."
        message = f"{text} {more}"
        yield Refusal(message, param="max_output_tokens", code="integer_below_min_value")
    found = as_object(as_object(request.body.get("text")).get("format"))
    if found and found.get("type") not in ("text", "json_object", "json_schema"):
        values = ("json_object", "json_schema", "text")
        yield openai.not_one_of("text.format.type", found.get("type"), values)
    if found.get("type") == "json_schema":
        yield from openai.format_of("text.format", found)
    if found.get("type") == "json_object" and not _says_json(request.body.get("input")):
        text = "Response input messages must contain the word 'json' in some form to use"
        yield Refusal(f"{text} 'text.format' of type 'json_object'.", param="text.format")
    if request.body.get("stream_options") is not None and request.body.get("stream") is not True:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        yield Refusal(text, param="stream_options")


def _says_json(value: Any) -> bool:
    return "json" in json.dumps(value).lower()


def model_takes(request: Request) -> Iterator[Refusal]:
    """No reasoning for models without it: reports ("Encrypted content is not supported with this
    model.", "Unsupported parameter: 'reasoning.effort' is not supported with this model.")."""
    if openai.reasons(request.model) or not request.model.startswith(("gpt-3.5", "gpt-4")):
        return
    if "reasoning.encrypted_content" in as_list(request.body.get("include")):
        yield Refusal("Encrypted content is not supported with this model.", param="include")
    for name in ("effort", "summary"):
        if as_object(request.body.get("reasoning")).get(name) is not None:
            yield openai.unsupported(f"reasoning.{name}")


RULES: Final[tuple[Rule, ...]] = (
    openai.key_header,
    openai.content_type,
    needed_fields,
    known_fields,
    enums,
    contents,
    item_ids,
    calls,
    pairs,
    reasoning_items,
    references,
    tools,
    openai.only_beside_tools,
    tool_choice,
    output,
    openai.lengths,
    openai.numbers,
    openai.sampling,
    model_takes,
)
