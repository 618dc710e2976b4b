"""Translates `generationConfig`: sampling, output format and thinking. Pure functions.

https://ai.google.dev/api/generate-content#v1beta.GenerationConfig, for thinking
https://ai.google.dev/gemini-api/docs/thinking.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from plugway import as_object
from plugway_gemini_api._fields import (
    integer,
    invalid,
    number,
    object_at,
    objects,
    repeated,
    text,
    texts,
    unknown,
    word,
)
from plugway_gemini_api._policy import GENERATION, apply
from plugway_gemini_api._schema import closed, json_schema
from plugway_translation import Notes

AT: Final = "generationConfig"
JSON_ONLY: Final = "Answer with one JSON value and nothing else: no prose, no code fence."
"""Emulates JSON without a schema, which the Messages API lacks."""
_EFFORTS: Final[Mapping[str, str]] = {
    "MINIMAL": "low",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
"""`output_config.effort` by `thinkingLevel`."""
_FORMS: Final = ("", "text/plain", "application/json", "text/x.enum")


class Form(NamedTuple):
    """The output format."""

    schema: Mapping[str, Any] | None = None
    asked: str = ""
    """Instruction that requests the format in the prompt."""


def config_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """`generationConfig`. Raises `InvalidRequest`."""
    return object_at(body, AT, "")


def sampling(config: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """Fields of the Messages API at the top level. Raises `InvalidRequest`."""
    apply(config, GENERATION, notes, f"{AT}.")
    found: dict[str, Any] = {}
    if (temperature := number(config, "temperature", AT, 0, 2)) is not None:
        if temperature > 1:
            notes.add(f"{AT}.temperature", "translate", "the maximum in the Messages API is 1")
        found["temperature"] = min(temperature, 1)
    if (top_p := number(config, "topP", AT, 0, 1)) is not None:
        found["top_p"] = top_p
    if (top_k := integer(config, "topK", AT)) is not None:
        found["top_k"] = top_k
    given = texts(config, "stopSequences", AT)
    stops = [stop for stop in given if stop]
    if len(stops) < len(given):
        notes.add(f"{AT}.stopSequences", "drop", "an empty string is not a stop sequence")
    return found | ({"stop_sequences": stops} if stops else {})


def form_of(config: Mapping[str, Any], notes: Notes) -> Form:
    """The requested output format. Raises `InvalidRequest`."""
    mime, typed, raw = _form_fields(config)
    if mime not in _FORMS:
        raise invalid(
            f"{AT}.responseMimeType", "expected text/plain, application/json or text/x.enum"
        )
    schema = as_object(raw) if raw is not None else json_schema(typed)
    if mime == "text/x.enum":
        options = [one for one in repeated(schema, "enum") if isinstance(one, str)]
        if not options:
            raise invalid(f"{AT}.responseSchema", "`text/x.enum` needs a schema with an `enum`")
        notes.add(f"{AT}.responseMimeType", "emulate", "one of the values is requested in `system`")
        listed = orjson.dumps(options).decode()
        return Form(asked=f"Answer with exactly one of these values, without quotes: {listed}")
    if schema:
        return Form(closed(schema))
    if mime != "application/json":
        return Form()
    notes.add(f"{AT}.responseMimeType", "emulate", "JSON is requested in `system`")
    return Form(asked=JSON_ONLY)


def wants_json(config: Mapping[str, Any]) -> bool:
    """Whether JSON without a schema is requested."""
    mime, typed, raw = _form_fields(config)
    return mime == "application/json" and not typed and not raw


def _form_fields(config: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """Media type, schema in Google's format, and JSON Schema; reads old and new field names."""
    for form in objects(config, "responseFormat", f"{AT}.responseFormat"):
        inner = object_at(form, "text", f"{AT}.responseFormat")
        if inner:
            mime = text(inner, "mimeType", f"{AT}.responseFormat.text").lower()
            mime = mime.replace("application_json", "application/json").replace("_", "/")
            return mime, None, inner.get("schema")
    mime = text(config, "responseMimeType", AT)
    return mime, config.get("responseSchema"), config.get("responseJsonSchema")


def thinking(config: Mapping[str, Any], form: Form, notes: Notes) -> dict[str, Any]:
    """`thinking` and `output_config`. Raises `InvalidRequest`.

    Uses `adaptive` rather than a budget: with a budget Anthropic rejects a conversation whose last
    tool call lacks its thinking, and many clients do not send signatures back.
    """
    at = f"{AT}.thinkingConfig"
    wanted = object_at(config, "thinkingConfig", AT)
    unknown(wanted, ("includeThoughts", "thinkingBudget", "thinkingLevel"), at, notes)
    output: dict[str, Any] = {}
    if form.schema is not None:
        output["format"] = {"type": "json_schema", "schema": form.schema}
    budget, level = integer(wanted, "thinkingBudget", at, -1), word(wanted, "thinkingLevel", at)
    if level and level not in _EFFORTS:
        raise invalid(f"{at}.thinkingLevel", f"expected one of {', '.join(_EFFORTS)}")
    found: dict[str, Any] = {}
    if budget == 0 and not level:
        found["thinking"] = {"type": "disabled"}
    elif level or budget or shows_thoughts(config):
        found["thinking"] = {"type": "adaptive"}
        if shows_thoughts(config):
            found["thinking"]["display"] = "summarized"
        if effort := _effort(level, budget, at, notes):
            output["effort"] = effort
    return {**found, "output_config": output} if output else found


def _effort(level: str, budget: int | None, at: str, notes: Notes) -> str:
    if level == "MINIMAL":
        notes.add(f"{at}.thinkingLevel", "translate", "`low` is the lowest effort")
    if level or not budget or budget < 0:
        return _EFFORTS.get(level, "")
    effort = "low" if budget <= 4096 else "medium" if budget <= 16384 else "high"
    notes.add(f"{at}.thinkingBudget", "translate", f"sent as effort `{effort}`")
    return effort


def shows_thoughts(config: Mapping[str, Any]) -> bool:
    """Whether the client wants to see thoughts. Raises `InvalidRequest`."""
    wanted = object_at(config, "thinkingConfig", AT).get("includeThoughts")
    if not isinstance(wanted, bool | None):
        raise invalid(f"{AT}.thinkingConfig.includeThoughts", "expected a boolean")
    return wanted is True


def settle(found: dict[str, Any], notes: Notes) -> None:
    """Remove `thinking` if a tool call is forced: Anthropic rejects the combination."""
    forced = as_object(found.get("tool_choice")).get("type") in ("any", "tool")
    if forced and as_object(found.get("thinking")).get("type") == "adaptive":
        del found["thinking"]
        because = "a forced call disables thinking; the effort stays"
        notes.add(f"{AT}.thinkingConfig", "translate", because)
