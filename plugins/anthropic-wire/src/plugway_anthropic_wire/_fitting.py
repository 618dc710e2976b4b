"""Adapts a request to what a server of the Messages API is known to accept. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import REMOVE, BackendRefused, MessagesRequest, as_list, as_object
from plugway_anthropic_wire._claude import within_output
from plugway_anthropic_wire._system_turns import without_prefill
from plugway_anthropic_wire._turns import strictly_ordered, without_thinking
from plugway_capabilities import USER_FIELDS, Facts, lessons
from plugway_translation import (
    ANY_SCHEMA,
    Notes,
    SchemaRules,
    clean_schema,
    limit_images,
    limit_tools,
    rules_without,
    shortened,
)

_NEEDED: Final = frozenset(
    (
        *("model", "messages", "max_tokens", "tools", "content", "role", "type", "text", "name"),
        *("input_schema", "input", "id", "tool_use_id", "source", "data"),
    )
)
"""Fields without which a request, turn, block or tool is invalid."""
_VARIANTS: Final = frozenset(("custom",))
"""Variant names between an index and a field in Anthropic's paths (`tools.0.custom.name`)."""
_BETA_HEADER: Final = "anthropic-beta"
_PROPERTY: Final = r"[a-zA-Z0-9_.-]{1,64}"
"""Property names: "Property keys should match pattern", anthropics/claude-code#40075."""
_WITH_PROPERTIES: Final = "each tool schema has `properties`, empty if there were none"
CLAUDE_TOOLS: Final = SchemaRules(property_names=_PROPERTY)
CLAUDE_OUTPUT: Final = SchemaRules(
    drop=frozenset(
        (
            *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "not"),
            *("minLength", "maxLength", "maxItems", "uniqueItems", "minProperties", "if", "then"),
            *("maxProperties", "propertyNames", "patternProperties", "else", "contains"),
            *("dependentRequired", "dependentSchemas"),
        )
    ),
    formats=frozenset(
        (
            *("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4"),
            *("ipv6", "uuid"),
        )
    ),
    inline_refs=True,
    one_of_as_any_of=True,
    patterns="linear",
    most_counted=1,
    closed=True,
    property_names=_PROPERTY,
)
"""Rules for output schemas and for tools with `strict`: platform.claude.com/docs, "Structured
outputs", "JSON Schema limitations". `minItems` may be 0 or 1."""


def fitted_to(request: MessagesRequest, facts: Facts) -> MessagesRequest:
    """Remove what the server is known to reject; returns the same object if nothing changes."""
    request = _betas(request, facts.rejected_betas)
    body, notes = request.body, Notes()
    fields = _without(body, facts.rejected_fields, notes)
    if facts.tools_limit or schemas_by(facts) is not ANY_SCHEMA:
        fields |= _tools({**body, **fields}, facts, notes)
    stops = as_list(body.get("stop_sequences"))
    if facts.stop_limit and len(stops) > facts.stop_limit:
        fields["stop_sequences"] = stops[: facts.stop_limit]
        notes.add("stop_sequences", "drop", f"the server accepts {facts.stop_limit}")
    messages = as_list(fields.get("messages", body.get("messages")))
    turns = _turns(messages, facts, notes)
    if turns is not messages:
        fields["messages"] = turns
    most, wanted = facts.max_output_tokens, body.get("max_tokens")
    if most and isinstance(wanted, int) and wanted > most:
        fields["max_tokens"] = most
        notes.add("max_tokens", "translate", f"the model writes at most {most} tokens")
    limits = {_plain(path): most for path, most in facts.length_limits.items()}
    whole = {**body, **fields}
    short = shortened(whole, limits, USER_FIELDS, notes)
    fields |= {name: value for name, value in short.items() if value is not whole.get(name)}
    if fields:
        because = "; ".join(notes.lines()) or _WITH_PROPERTIES
        request = request.replace(because=because, **fields)
    return without_prefill(request) if facts.prefill == "rejected" else request


def with_less_output(request: MessagesRequest, refusal: BackendRefused) -> MessagesRequest:
    """Lower `max_tokens` to the limit that an error names; the same object if it names none.

    Nothing is remembered: a beta feature of the next request may raise the limit.
    """
    limit = lessons(refusal.status, refusal.body).get("max_output_tokens")
    return within_output(request, limit) if limit else request


def _betas(request: MessagesRequest, rejected: frozenset[str]) -> MessagesRequest:
    """Remove values of `anthropic-beta`; `*` stands for all."""
    line = ",".join(value for name, value in request.headers if name == _BETA_HEADER)
    if not line or not rejected:
        return request
    values = [value.strip() for value in line.split(",")]
    kept = [value for value in values if value and not rejected & {value, "*"}]
    if kept == values:
        return request
    because = "the server rejects these beta features"
    return request.replace(because=because, headers={_BETA_HEADER: ",".join(kept) or REMOVE})


def _turns(messages: list[Any], facts: Facts, notes: Notes) -> list[Any]:
    """The turns that the server accepts; the same object if nothing changes."""
    if facts.images_limit:
        messages = limit_images(messages, facts.images_limit, notes)
    if facts.reasoning_back == "rejected":
        messages = without_thinking(messages, notes)
    return strictly_ordered(messages, notes) if facts.turn_order == "strict" else messages


def plain_tools(request: MessagesRequest) -> MessagesRequest:
    """Clean tool schemas of a request from another API, for any server."""
    notes = Notes()
    tools = _cleaned(as_list(request.get("tools")), ANY_SCHEMA, ANY_SCHEMA, notes)
    because = "; ".join(notes.lines()) or _WITH_PROPERTIES
    return request.replace(because=because, tools=tools) if tools else request


def plain_schemas(request: MessagesRequest) -> MessagesRequest:
    """Clean schemas of a request from another API, for Claude's servers."""
    body, notes = request.body, Notes()
    fields: dict[str, Any] = {}
    if tools := _cleaned(as_list(body.get("tools")), CLAUDE_TOOLS, CLAUDE_OUTPUT, notes):
        fields["tools"] = tools
    config = as_object(body.get("output_config"))
    wanted = as_object(config.get("format"))
    if isinstance(wanted.get("schema"), dict):
        schema, cut = clean_schema(wanted["schema"], CLAUDE_OUTPUT, "output_config.format")
        notes.extend(cut)
        if schema != wanted["schema"]:
            fields["output_config"] = {**config, "format": {**wanted, "schema": schema}}
    if not fields:
        return request
    because = "; ".join(notes.lines()) or "the server does not allow additional properties"
    return request.replace(because=because, **fields)


def schemas_by(facts: Facts) -> SchemaRules:
    """The rules for tool schemas at a server with these facts."""
    patterns, form = facts.schema_patterns, facts.schema_form
    return rules_without(facts.rejected_keywords, patterns, facts.schema_count, form)


def _tools(body: Mapping[str, Any], facts: Facts, notes: Notes) -> dict[str, Any]:
    tools = [as_object(tool) for tool in as_list(body.get("tools"))]
    kept = limit_tools(tools, facts.tools_limit, body, notes)
    rules = schemas_by(facts)
    cleaned = [] if rules is ANY_SCHEMA else _cleaned(kept, rules, rules, notes)
    if cleaned or kept is not tools:
        return {"tools": cleaned or kept}
    return {}


def _cleaned(tools: list[Any], rules: SchemaRules, strict: SchemaRules, notes: Notes) -> list[Any]:
    """Clean the schemas by `rules`, or `strict` for strict tools; empty if nothing changes."""
    found: list[Any] = []
    changed = False
    for item in tools:
        tool = as_object(item)
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            found.append(item)
            continue
        cleaned, cut = clean_schema(schema, strict if tool.get("strict") is True else rules)
        notes.of_tool(str(tool.get("name")), cut)
        changed |= cleaned is not schema
        found.append(item if cleaned is schema else {**tool, "input_schema": cleaned})
    return found if changed else []


def _without(body: Mapping[str, Any], paths: frozenset[str], notes: Notes) -> dict[str, Any]:
    """The changed fields after removing `paths`."""
    fields: dict[str, Any] = {}
    for path in sorted(paths):
        name, *rest = _plain(path).split(".")
        if name not in body or [name, *rest][-1] in _NEEDED:
            continue
        value = fields.get(name, body[name])
        left = _less(value, rest) if rest else REMOVE
        if left is not value:
            fields[name] = left
            notes.add(path, "drop", "the server rejects it")
    return {name: value for name, value in fields.items() if value is not None}


def _less(value: Any, path: list[str]) -> Any:
    """Remove `path` from `value`; returns the same object if it is absent."""
    if isinstance(value, list):
        items = as_list(value)
        less = [_less(item, path) for item in items]
        same = all(new is old for new, old in zip(less, items, strict=True))
        return items if same else less
    members = as_object(value)
    name, *rest = path
    if name not in members:
        return value
    if not rest:
        return {key: item for key, item in members.items() if key != name}
    inner = _less(members[name], rest)
    return value if inner is members[name] else {**members, name: inner}


def _plain(path: str) -> str:
    return ".".join(part for part in path.split(".") if part not in _VARIANTS)
