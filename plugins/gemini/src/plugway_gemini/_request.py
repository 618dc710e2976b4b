"""Translates a Messages request into a `generateContent` request. Pure functions.

https://ai.google.dev/api/generate-content#request-body. `_contents` translates the conversation,
`_schema` the schemas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_gemini._contents import EXTRAS, Contents
from plugway_gemini._models import Target
from plugway_gemini._schema import gemini_schema
from plugway_gemini._thinking import thinking_config
from plugway_translation import (
    PLACEHOLDER_LEFT_OUT,
    Notes,
    Rule,
    ToolNames,
    count,
    drop_by,
    ids_of_calls,
    is_placeholder,
    note_extras,
    reminder,
    system_text,
    type_name,
)

NAME: Final = r"(?:[a-zA-Z_]|(?<!^)[0-9.:-])"
"""Characters of a function name, which starts with a letter or an underscore."""
NAME_LIMIT: Final = 64
STOP_LIMIT: Final = 5

_SAME: Final = Rule("translate")
_ELSEWHERE: Final = Rule("drop", "Gemini has no equivalent")
_CACHE: Final = Rule("drop", "Gemini caches prefixes by itself")

FIELDS: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        (
            *("max_tokens", "messages", "model", "output_config", "stop_sequences", "stream"),
            *("system", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p"),
            "output_format",
        ),
        _SAME,
    ),
    **dict.fromkeys(
        (
            *("betas", "container", "diagnostics", "fallback_credit_token", "fallbacks"),
            *("inference_geo", "mcp_servers", "service_tier", "speed"),
        ),
        _ELSEWHERE,
    ),
    "cache_control": _CACHE,
    "metadata": Rule("drop", "Gemini does not receive user ids"),
    "context_management": Rule("drop", "the `context-guard` plugin does this first"),
}
"""How each field of the body is treated; unlisted ones are dropped with a note."""
_TOOL_FIELDS: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(("name", "description", "input_schema", "type"), _SAME),
    "cache_control": _CACHE,
    **dict.fromkeys(
        ("strict", "defer_loading", "eager_input_streaming", "input_examples", "allowed_callers"),
        _ELSEWHERE,
    ),
}
_HARMS: Final = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT")


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated request, and what is needed to read its reply."""

    body: dict[str, Any]
    names: ToolNames
    notes: Notes
    one_call: bool = False
    """The client allows only one call, which Gemini cannot be configured for."""
    simple: bool = False
    signatures: bool = True
    used_ids: frozenset[str] = frozenset()
    """Call ids in the conversation, which new calls must not reuse."""


def translate(
    body: Mapping[str, Any], target: Target, *, simple: bool = False, signatures: bool = True
) -> Translation:
    """Translate a request for `target`. Raises `InvalidRequest`.

    `simple` shortens tool descriptions, for a model that produced a malformed call; without
    `signatures` no carried signature is sent.
    """
    notes = Notes()
    drop_by(FIELDS, list(body), notes)
    tools = _client_tools(body, notes)
    limit = target.facts.tool_name_limit or NAME_LIMIT
    names = ToolNames((str(tool["name"]) for tool in tools), limit, NAME)
    for name, short in names.changed.items():
        notes.add("tools.name", "translate", f"`{name}` is sent as `{short}`")
    made: dict[str, Any] = {
        "contents": Contents(target, names, notes, signatures=signatures).of(
            as_list(body.get("messages"))
        )
    }
    note_extras(as_list(body.get("system")), "system", EXTRAS, notes)
    if system := system_text(body.get("system"), notes):
        _instruct(made, system, target, notes)
    choice = as_object(body.get("tool_choice"))
    if tools:
        declared = [_declaration(tool, names, target, notes, simple=simple) for tool in tools]
        made["tools"] = [{"functionDeclarations": declared}]
        made |= _tool_config(choice, names, notes, tools)
    made["generationConfig"] = _generation(body, target, notes, has_tools=bool(tools))
    if target.safety:
        made["safetySettings"] = safety_settings(target.safety)
    _without(made, target.facts.rejected_fields, notes)
    one_call = choice.get("disable_parallel_tool_use") is True
    if one_call:
        notes.add("tool_choice", "emulate", "only the first call of a reply is kept")
    used = frozenset(ids_of_calls(as_list(body.get("messages"))))
    return Translation(made, names, notes, one_call, simple, signatures, used)


def _instruct(made: dict[str, Any], system: str, target: Target, notes: Notes) -> None:
    """Set the system prompt, or put it before the first turn if the model rejects it."""
    if "systemInstruction" not in target.facts.rejected_fields:
        made["systemInstruction"] = {"parts": [{"text": system}]}
        return
    made["contents"][0]["parts"].insert(0, {"text": reminder(system)})
    notes.add(
        "system", "translate", "this model does not support it; put before the first user turn"
    )


# ── tools ────────────────────────────────────────────────────────────────────────────────────


def _client_tools(body: Mapping[str, Any], notes: Notes) -> list[dict[str, Any]]:
    """The tools with a schema; tools that Anthropic's servers run have none."""
    found: list[dict[str, Any]] = []
    names: set[str] = set()
    for tool in map(as_object, as_list(body.get("tools"))):
        if is_placeholder(tool):
            notes.add("tools", "drop", PLACEHOLDER_LEFT_OUT)
        elif not isinstance(tool.get("name"), str) or tool.get("type") not in ("custom", None):
            kind = type_name(tool.get("type"))
            notes.add("tools", "drop", f"`{kind}` runs only on Anthropic's servers")
        elif tool["name"] in names:
            notes.add("tools", "drop", f"an earlier tool is also named `{tool['name']}`")
        else:
            drop_by(_TOOL_FIELDS, list(tool), notes, "tools.")
            found.append(tool)
            names.add(tool["name"])
    return found


def _declaration(
    tool: Mapping[str, Any], names: ToolNames, target: Target, notes: Notes, *, simple: bool
) -> dict[str, Any]:
    made: dict[str, Any] = {"name": names.out(str(tool["name"]))}
    if isinstance(tool.get("description"), str) and tool["description"]:
        made["description"] = tool["description"]
    own = Notes()
    schema = gemini_schema(tool.get("input_schema"), own, facts=target.facts, simple=simple)
    notes.of_tool(str(tool["name"]), list(own))
    if schema:
        made["parameters"] = schema
    return made


def _tool_config(
    choice: Mapping[str, Any], names: ToolNames, notes: Notes, tools: list[dict[str, Any]]
) -> dict[str, Any]:
    """`toolConfig`; empty if the model may choose freely."""
    match choice.get("type"):
        case "any":
            config: dict[str, Any] = {"mode": "ANY"}
        case "none":
            config = {"mode": "NONE"}
        case "tool":
            if choice.get("name") not in [tool["name"] for tool in tools]:
                notes.add("tool_choice", "drop", "the named tool was left out")
                return {}
            config = {"mode": "ANY", "allowedFunctionNames": [names.out(str(choice["name"]))]}
        case _:
            return {}
    return {"toolConfig": {"functionCallingConfig": config}}


def method_of(request: MessagesRequest) -> str:
    """The method of the API for a request."""
    return "streamGenerateContent?alt=sse" if request.stream else "generateContent"


def safety_settings(threshold: str) -> list[dict[str, str]]:
    """The same threshold for all harm categories; empty for Google's defaults."""
    harms = _HARMS if threshold else ()
    return [{"category": f"HARM_CATEGORY_{harm}", "threshold": threshold} for harm in harms]


# ── generation config ────────────────────────────────────────────────────────────────────────────


def _generation(
    body: Mapping[str, Any], target: Target, notes: Notes, *, has_tools: bool
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    thinking, more = thinking_config(body, target, notes)
    most = target.facts.max_output_tokens
    if asked := count(body.get("max_tokens")):
        config["maxOutputTokens"] = min(asked + more, most) if most else asked + more
        if most and asked > most:
            notes.add("max_tokens", "translate", f"lowered to {most}, the model's maximum")
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP"), ("top_k", "topK")):
        value = body.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            config[theirs] = value
    stops = [stop for stop in as_list(body.get("stop_sequences")) if isinstance(stop, str) and stop]
    limit = target.facts.stop_limit or STOP_LIMIT
    if len(stops) > limit:
        notes.add("stop_sequences", "drop", f"Gemini accepts {limit}; the others were left out")
    if stops:
        config["stopSequences"] = stops[:limit]
    if thinking:
        config["thinkingConfig"] = thinking
    return config | _format(body, target, notes, has_tools=has_tools)


def _format(
    body: Mapping[str, Any], target: Target, notes: Notes, *, has_tools: bool
) -> dict[str, Any]:
    """`output_config.format` as `responseSchema`."""
    older = body.get("output_format")
    wanted = as_object(as_object(body.get("output_config")).get("format") or older)
    if wanted.get("type") != "json_schema":
        return {}
    if has_tools and target.version < (3, 0):
        notes.add("output_config.format", "drop", "this model accepts it only without tools")
        return {}
    where = "output_config.format"
    schema = gemini_schema(wanted.get("schema"), notes, facts=target.facts, where=where)
    return {
        "responseMimeType": "application/json",
        **({"responseSchema": schema} if schema else {}),
    }


_UNDERSCORE: Final = re.compile(r"_([a-z])")


def _without(made: dict[str, Any], paths: frozenset[str], notes: Notes) -> None:
    """Remove what the model has rejected; Gemini reports paths in snake_case."""
    for path in sorted(paths):
        *parents, last = _UNDERSCORE.sub(lambda match: match[1].upper(), path).split(".")
        place: dict[str, Any] = made
        for name in parents:
            place = as_object(place.get(name))
        if last in place and place.get(last) is not made.get("contents"):
            del place[last]
            notes.add(path, "drop", "this model rejected it")
