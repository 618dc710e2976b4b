"""Rules that both of OpenAI's APIs share: keys, lengths, names, schemas of functions.

Sources: the request types of OpenAI's Python SDK 3.52 (`types/`), and error messages quoted in
public reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict._rules import Object, Refusal, Request, bracketed, objects, schemas

MOST_TOOLS: Final = 128
NAME: Final = "^[a-zA-Z0-9_-]+$"
MOST_NAME: Final = 64
_ROOTS: Final = ("oneOf", "anyOf", "allOf", "enum", "not")
_TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")
_REASONS: Final = re.compile(r"^(?:o\d|gpt-(?:[5-9]|\d\d)|codex)")
_EFFORTLESS: Final = re.compile(r"^gpt-(?:5\.[4-9]|[6-9]|\d\d)")


def reasons(model: str) -> bool:
    """Whether it is a reasoning model: "Reasoning models" guide; `gpt-5-chat-latest` is not."""
    return bool(_REASONS.match(model)) and "-chat" not in model


def effortless_on_chat(model: str) -> bool:
    """Whether the model accepts functions on Chat Completions only without effort."""
    return bool(_EFFORTLESS.match(model))


def unknown(param: str) -> Refusal:
    """The error for an unknown field."""
    return Refusal(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def unsupported(param: str, more: str = "") -> Refusal:
    """The error for a field that the model does not support; `more` suggests an alternative."""
    text = f"Unsupported parameter: '{param}' is not supported with this model. {more}".strip()
    return Refusal(text, param=param, code="unsupported_parameter")


def missing(param: str) -> Refusal:
    """The error for a missing field."""
    text = f"Missing required parameter: '{param}'."
    return Refusal(text, param=param, code="missing_required_parameter")


def too_long(param: str, most: int, length: int) -> Refusal:
    """The error for a string that is too long ("Error codes" guide; openai/codex#44414)."""
    text = f"Expected a string with maximum length {most}, but got a string with length {length}"
    message = f"Invalid '{param}': string too long. {text} instead."
    return Refusal(message, param=param, code="string_above_max_length")


def too_many(param: str, most: int, length: int) -> Refusal:
    """The error for an array that is too long."""
    text = f"Expected an array with maximum length {most}, but got an array with length {length}"
    message = f"Invalid '{param}': array too long. {text} instead."
    return Refusal(message, param=param, code="array_above_max_length")


def empty(param: str) -> Refusal:
    """The error for an empty array."""
    text = "Expected an array with minimum length 1, but got an empty array instead."
    return Refusal(f"Invalid '{param}': empty array. {text}", param=param, code="empty_array")


def not_one_of(param: str, value: Any, values: Iterable[str]) -> Refusal:
    """The error for a value that is not in a list."""
    *most, last = (f"'{known}'" for known in values)
    listed = f"{', '.join(most)}, and {last}" if len(most) > 1 else f"{' and '.join([*most, last])}"
    text = f"Invalid value: '{value}'. Supported values are: {listed}."
    return Refusal(text, param=param, code="invalid_value")


def key_header(request: Request) -> Iterator[Refusal]:
    """A bearer key is required: API reference, "Authentication", which quotes the 401."""
    if not request.headers.get("authorization", "").startswith("Bearer "):
        text = "You didn't provide an API key. You need to provide your API key in an Authorization"
        yield Refusal(
            f"{text} header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).", 401
        )


def content_type(request: Request) -> Iterator[Refusal]:
    """JSON is required: with another type the service answers "you must provide a model
    parameter"."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        yield Refusal("you must provide a model parameter")


def lengths(request: Request) -> Iterator[Refusal]:
    """`safety_identifier` 128 (SDK, both APIs), `user` 64 and `prompt_cache_key` 64 (reports,
    `string_above_max_length`), `metadata` 16 pairs of 64 and 512 (SDK)."""
    limits = {"safety_identifier": 128, "user": 64, "prompt_cache_key": 64}
    for name, most in limits.items():
        value = request.body.get(name)
        if isinstance(value, str) and len(value) > most:
            yield too_long(name, most, len(value))
    metadata = as_object(request.body.get("metadata"))
    if len(metadata) > 16:
        text = "Invalid 'metadata': too many properties. Expected an object with at most 16, got"
        yield Refusal(f"{text} {len(metadata)}.", code="object_above_max_properties")
    for name, value in metadata.items():
        if len(name) > 64:
            yield too_long("metadata", 64, len(name))
        if not isinstance(value, str):
            message = f"Invalid type for 'metadata.{name}': expected a string."
            yield Refusal(message, param=f"metadata.{name}", code="invalid_type")
        elif len(value) > 512:
            yield too_long(f"metadata.{name}", 512, len(value))


def numbers(request: Request) -> Iterator[Refusal]:
    """`temperature` 0 to 2, `top_p` 0 to 1, penalties -2 to 2: SDK."""
    bounds = {
        "temperature": (0, 2),
        "top_p": (0, 1),
        "presence_penalty": (-2, 2),
        "frequency_penalty": (-2, 2),
    }
    for name, (least, most) in bounds.items():
        value = request.body.get(name)
        if not isinstance(value, int | float) or least <= value <= most:
            continue
        what, sign, bound = ("below minimum", ">=", least)
        if value > most:
            what, sign, bound = ("above maximum", "<=", most)
        text = f"Invalid '{name}': decimal {what} value. Expected a value {sign} {bound}, but got"
        code = f"decimal_{what.split()[0]}_{what.split()[1][:3]}_value"
        yield Refusal(f"{text} {value} instead.", param=name, code=code)


def sampling(request: Request) -> Iterator[Refusal]:
    """Reasoning models accept only the default temperature, `top_p` and penalties: "Using GPT-5"
    guide; Aider-AI/aider and others quote the errors. With effort `none`, GPT-5.1 and later accept
    other values (same guide)."""
    effort = request.body.get("reasoning_effort") or as_object(request.body.get("reasoning")).get(
        "effort"
    )
    if not reasons(request.model) or effort == "none":
        return
    for name, usual in (("temperature", 1), ("top_p", 1)):
        value = request.body.get(name)
        if value not in (None, usual):
            text = f"Unsupported value: '{name}' does not support {value} with this model."
            more = f"Only the default ({usual}) value is supported."
            yield Refusal(f"{text} {more}", param=name, code="unsupported_value")


def only_beside_tools(request: Request) -> Iterator[Refusal]:
    """`tool_choice` and `parallel_tool_calls` require tools: reports quote the errors; an empty
    list is too short. `additional_tools` count as tools: Codex sends no others."""
    if request.body.get("tools") == []:
        yield empty("tools")
    added = (item for _, item in objects(request.body.get("input")))
    if as_list(request.body.get("tools")) or any(
        i.get("type") == "additional_tools" for i in added
    ):
        return
    for name in ("tool_choice", "parallel_tool_calls"):
        if request.body.get(name) not in (None, "none", "auto"):
            text = f"'{name}' is only allowed when 'tools' are specified."
            yield Refusal(f"Invalid value for '{name}': {text}", param=name)


def function(place: str, found: Object) -> Iterator[Refusal]:
    """The name and the schema of a function (SDK `shared_params/function_definition.py`)."""
    yield from name_of(f"{place}.name", found.get("name"))
    description = found.get("description")
    if isinstance(description, str) and len(description) > 1_048_576:
        yield too_long(f"{place}.description", 1_048_576, len(description))
    schema = found.get("parameters")
    if isinstance(schema, dict):
        strict = found.get("strict") is True
        param, context = f"{place}.parameters", f"function '{found.get('name')}'"
        for text in schema_problems(as_object(schema), strict=strict, function=True):
            message = f"Invalid schema for {context}: {text}"
            yield Refusal(message, param=param, code="invalid_function_parameters")


def name_of(param: str, name: Any) -> Iterator[Refusal]:
    """Letters, digits, `_` and `-`, at most 64 (SDK)."""
    if not isinstance(name, str):
        yield missing(param)
    elif len(name) > MOST_NAME:
        yield too_long(param, MOST_NAME, len(name))
    elif not re.fullmatch(NAME[1:-1], name):
        text = f"Invalid '{param}': string does not match pattern. Expected a string that matches"
        yield Refusal(f"{text} the pattern '{NAME}'.", param=param, code="invalid_value")


def format_of(param: str, found: Mapping[str, Any]) -> Iterator[Refusal]:
    """A `json_schema` format: its name, an object as root of its schema, and the rest of the schema
    if strict ("Structured outputs"; podly-pure-podcasts/podly_pure_podcasts#89)."""
    yield from name_of(f"{param}.name", found.get("name"))
    schema = found.get("schema")
    if isinstance(schema, dict):
        texts = root_problems(as_object(schema))
        if found.get("strict") is True:
            texts = chain(texts, schema_problems(as_object(schema), strict=True, function=False))
        for text in texts:
            message = f"Invalid schema for response_format '{found.get('name')}': {text}"
            yield Refusal(message, param=bracketed(param), code="invalid_json_schema")


def root_problems(schema: Object) -> Iterator[str]:
    """Report a root that is no object."""
    if schema and schema.get("type") != "object":
        type_ = schema.get("type", "None")
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{type_}\"'."


def schema_problems(schema: Object, *, strict: bool, function: bool) -> Iterator[str]:
    """Report problems of a schema: an object without unions at the root, `items` in every array
    (all functions); closed objects with every property required (strict ones).

    "Structured outputs" guide ("Supported schemas"); errors quoted in reports.
    """
    if function:
        yield from root_problems(schema)
    if found := [name for name in _ROOTS if name in schema and (function or name == "anyOf")]:
        names = "/".join(f"'{name}'" for name in _ROOTS)
        text = f"schema must have type 'object' and not have {names} at the top level."
        yield f"{text} Found '{found[0]}'."
    for place, inner in schemas(schema):
        where = f"In context={place!r},"
        kind = inner.get("type")
        if isinstance(kind, str) and kind not in _TYPES:
            yield f"{kind!r} is not valid under any of the given schemas."
        if kind == "array" and "items" not in inner and "prefixItems" not in inner:
            yield f"{where} array schema missing items."
        if strict:
            yield from _strict_problems(where, inner)


def _strict_problems(where: str, inner: Object) -> Iterator[str]:
    for name in ("oneOf", "allOf", "not", "if", "then", "else", "patternProperties"):
        if name in inner:
            yield f"{where} '{name}' is not permitted."
    if inner.get("type") != "object" and "properties" not in inner:
        return
    if inner.get("additionalProperties") is not False:
        yield f"{where} 'additionalProperties' is required to be supplied and to be false."
    absent = [
        n for n in as_object(inner.get("properties")) if n not in as_list(inner.get("required"))
    ]
    if absent:
        text = "'required' is required to be supplied and to be an array including every key in"
        yield f"{where} {text} properties. Missing {absent[0]!r}."
