"""Translates tools and tool choices to Chat Completions. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugway import as_list, as_object
from plugway_openai_wire._policy import MOST_NAME, TOOL
from plugway_openai_wire.chat._policy import Target
from plugway_translation import (
    PLACEHOLDER_LEFT_OUT,
    Notes,
    SchemaRules,
    ToolNames,
    clean_schema,
    drop_by,
    is_placeholder,
    limit_tools,
    remembered,
    strict_fits,
    type_name,
)

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def is_server_tool(tool: dict[str, Any]) -> bool:
    """Whether Anthropic runs or defines the tool: it has its own type, and no schema."""
    return tool.get("type") not in (None, "custom") and "input_schema" not in tool


def offered(body: Mapping[str, Any], target: Target, notes: Notes) -> list[dict[str, Any]]:
    """The tools that can be offered; the others are noted."""
    found: list[dict[str, Any]] = []
    for item in as_list(body.get("tools")):
        tool = as_object(item)
        if is_placeholder(tool):
            notes.add("tools", "drop", PLACEHOLDER_LEFT_OUT)
        elif "input_schema" not in tool and is_server_tool(tool):
            because = (
                f"`{tool.get('name')}` (`{type_name(tool.get('type'))}`) is specific to Anthropic"
            )
            notes.add("tools", "drop", because)
        elif isinstance(tool.get("name"), str):
            found.append(tool)
    most = target.facts.tools_limit
    return limit_tools(found, most, body, notes)


def names_of(tools: list[dict[str, Any]], target: Target) -> ToolNames:
    """The tool names that the server accepts."""
    limit = target.facts.tool_name_limit or MOST_NAME
    return ToolNames([tool["name"] for tool in tools], limit)


def tools_of(
    tools: list[dict[str, Any]], target: Target, names: ToolNames, notes: Notes
) -> list[Mapping[str, Any]]:
    """`tools` of the request. Treat its items as read-only: the next request may share them."""
    strict = target.quirks.strict and target.takes("tools.function.strict")
    found, noted = _functions(tools, target.schemas, names.limit, strict)
    notes.include(noted)
    return [*found]


@remembered
def _functions(
    tools: Sequence[Mapping[str, Any]], rules: SchemaRules, limit: int, strict: bool
) -> tuple[list[Mapping[str, Any]], Notes]:
    notes = Notes()
    names = ToolNames([tool["name"] for tool in tools], limit)
    found = [_function(tool, rules, names, strict, notes) for tool in tools]
    if changed := names.changed:
        notes.add("tools.name", "translate", f"shortened: {', '.join(sorted(changed))}")
    return found, notes


def _function(
    tool: Mapping[str, Any], rules: SchemaRules, names: ToolNames, strict: bool, notes: Notes
) -> Mapping[str, Any]:
    drop_by(TOOL, list(tool), notes, "tools.")
    parameters, cut = clean_schema(tool.get("input_schema"), rules)
    notes.of_tool(tool["name"], cut)
    function: dict[str, Any] = {"name": names.out(tool["name"])}
    if isinstance(description := tool.get("description"), str):
        function["description"] = description
    function["parameters"] = parameters
    if tool.get("strict") is True:
        if strict and strict_fits(parameters):
            function["strict"] = True
        else:
            notes.add("tools.strict", "drop", "the server, or the schema, does not allow it")
    return {"type": "function", "function": function}


def choice_of(value: Any, target: Target, names: ToolNames, notes: Notes) -> Any:
    """`tool_choice` of the request; None for the server's default."""
    choice = as_object(value)
    kind = choice.get("type")
    if not choice:
        return None
    found: Any = _CHOICES.get(str(kind), "auto")
    if kind == "tool":
        found = {"type": "function", "function": {"name": names.out(str(choice.get("name")))}}
    allowed = target.facts.allowed_values.get("tool_choice")
    known = allowed is None or (found if isinstance(found, str) else "function") in allowed
    if not known or not target.takes("tool_choice"):
        notes.add("tool_choice", "drop", "the server does not accept this choice")
        return None
    return found


def is_chosen(value: Any, tools: list[dict[str, Any]]) -> bool:
    """Whether a choice names an offered tool, or none."""
    choice = as_object(value)
    return choice.get("type") != "tool" or any(t["name"] == choice.get("name") for t in tools)
