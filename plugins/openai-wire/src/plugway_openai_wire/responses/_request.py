"""Translates a Messages request into a Responses request. Pure functions.

Stateless: the server stores nothing (`store: false`), and encrypted reasoning is carried in
thinking blocks. Fields: `types/responses/response_create_params.py` of the `openai` SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_list, as_object
from plugway_anthropic_wire import schemas_by
from plugway_capabilities import USER_FIELDS
from plugway_openai_wire._answer import answer_schema, schema_of
from plugway_openai_wire._carried import USERS
from plugway_openai_wire._policy import (
    CACHE_KEY,
    EXTRAS,
    OUTPUT,
    turns_in,
    user_hash,
)
from plugway_openai_wire.responses._items import input_of
from plugway_openai_wire.responses._policy import FIELDS, LEAST_OUTPUT, Target
from plugway_openai_wire.responses._tools import choice_of, names_of, searches_of, tools_of
from plugway_translation import (
    Effort,
    Notes,
    ToolNames,
    clamp_effort,
    drop_by,
    hashed,
    limit_tools,
    note_extras,
    shortened,
    strict_fits,
    system_text,
)

_EFFORTS: Final[tuple[Effort, ...]] = (
    "none",
    "minimal",
    "low",
    "medium",
    "high",
    "xhigh",
    "max",
)
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
ENCRYPTED: Final = "reasoning.encrypted_content"
SOURCES: Final = "web_search_call.action.sources"


@dataclass(frozen=True, slots=True)
class Translated:
    """A translated request, and what is needed to read its reply."""

    body: Mapping[str, Any]
    notes: Notes
    names: ToolNames
    stops: tuple[str, ...] = ()
    """`stop_sequences`, which the API lacks: the gateway cuts the reply."""
    warm_only: bool = False
    """The client requested no output (`max_tokens: 0`)."""


def request_of(body: Mapping[str, Any], target: Target) -> Translated:
    """Translate `body`. Raises `InvalidRequest` if the target cannot serve it."""
    notes = Notes()
    drop_by(FIELDS, list(body), notes)
    tools = [as_object(tool) for tool in as_list(body.get("tools"))]
    tools = limit_tools(tools, target.facts.tools_limit, body, notes)
    names = names_of(tools, target)
    found: dict[str, Any] = {"model": body.get("model"), "store": False}
    note_extras(as_list(body.get("system")), "system", EXTRAS, notes)
    if system := system_text(body.get("system"), notes):
        found["instructions"] = system
    messages = turns_in(body, target.facts, target.media, notes)
    found["input"] = input_of(messages, target, names, notes)
    if made := tools_of(tools, target, names, notes):
        found["tools"] = made
        found |= choice_of(body.get("tool_choice"), made, names, notes)
        found |= searches_of(tools, made)
    found |= _limits(body, target, notes)
    found |= _thinking(body, target, notes)
    found |= _format(body, target, notes)
    found |= _caller(body, target, notes)
    target.carried.add_to(found, target.facts, notes)
    found["stream"] = body.get("stream") is True
    if any(tool["type"] == "web_search" for tool in made):
        found["include"] = [*as_list(found.get("include")), SOURCES]
    _strip(found, target, notes)
    found = shortened(found, target.facts.length_limits, USER_FIELDS, notes)
    stops = tuple(s for s in as_list(body.get("stop_sequences")) if isinstance(s, str) and s)
    if stops:
        notes.add("stop_sequences", "emulate", "the API has none; the gateway cuts the reply")
    return Translated(found, notes, names, stops, body.get("max_tokens") == 0)


def _limits(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    found = {name: body[name] for name in ("temperature", "top_p") if body.get(name) is not None}
    wanted, most = body.get("max_tokens"), target.facts.max_output_tokens
    if wanted == 0:
        notes.add("max_tokens", "emulate", f"{LEAST_OUTPUT} instead of 0; the reply is left out")
        found["max_output_tokens"] = LEAST_OUTPUT
    elif isinstance(wanted, int):
        fits = max(LEAST_OUTPUT, min(wanted, most) if most else wanted)
        if fits != wanted:
            bound = f"at least {LEAST_OUTPUT}" if wanted < LEAST_OUTPUT else f"at most {most}"
            notes.add("max_tokens", "translate", f"the model accepts {bound}")
        found["max_output_tokens"] = fits
    return found


def _thinking(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    thinking = as_object(body.get("thinking"))
    found: dict[str, Any] = {}
    if effort := target.carried.effort_of(body):
        found["effort"] = _effort(effort, target, notes)
    if thinking.get("type") == "enabled" and found.get("effort"):
        notes.add("thinking.budget_tokens", "translate", f"as effort `{found['effort']}`")
    if thinking.get("type") in ("enabled", "adaptive") and thinking.get("display") != "omitted":
        found["summary"] = "auto"
    made: dict[str, Any] = {"include": [ENCRYPTED]}
    return {"reasoning": found, **made} if found else made


def _effort(effort: Effort, target: Target, notes: Notes) -> Effort:
    allowed = target.facts.allowed_values.get("reasoning.effort", ())
    known: list[Effort] = [value for value in _EFFORTS if str(value) in allowed]
    fits = clamp_effort(effort, tuple(known)) if known else effort
    if fits != effort:
        notes.add(
            "output_config.effort", "translate", f"the model does not support `{effort}`: `{fits}`"
        )
    return fits


def _format(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    output = as_object(body.get("output_config"))
    drop_by(OUTPUT, list(output), notes, "output_config.")
    if schema_of(body) is None:
        return {}
    schema = answer_schema(body, schemas_by(target.facts), notes)
    made = {"type": "json_schema", "name": "answer", "schema": schema}
    return {"text": {"format": {**made, "strict": strict_fits(schema)}}}


def _caller(body: Mapping[str, Any], target: Target, notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    user = as_object(body.get("metadata")).get("user_id")
    sent = target.carried.fields
    if isinstance(user, str) and user and not USERS & sent.keys():
        found["safety_identifier"] = user_hash(user)
        notes.add("metadata.user_id", "translate", "as a hash, in `safety_identifier`")
    key = target.cache_key or (user if isinstance(user, str) else "")
    if (key or target.share) and "prompt_cache_key" not in sent:
        own = f"{target.share}/{key}" if target.share else key
        found["prompt_cache_key"] = hashed(own)[:32]
        notes.add("prompt_cache_key", "emulate", CACHE_KEY)
    tier = body.get("service_tier")
    if name := _TIERS.get(str(tier)):
        found["service_tier"] = name
    elif tier is not None:
        notes.add("service_tier", "drop", "the API has no such tier")
    return found


def _strip(found: dict[str, Any], target: Target, notes: Notes) -> None:
    """Remove fields that the model is known to reject."""
    for path in sorted(target.facts.rejected_fields):
        field, _, member = path.partition(".")
        if field not in found or field in {"model", "input", "tools"}:
            continue
        if not member:
            del found[field]
        elif isinstance(inner := found[field], dict) and member in inner:
            inner = as_object(inner)
            found[field] = {key: value for key, value in inner.items() if key != member}
            if not found[field]:
                del found[field]
        else:
            continue
        if path != "include":
            notes.add(path, "drop", "the model does not accept it")
