"""Translates tools and tool choices to the Responses API. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugway import as_object
from plugway_anthropic_wire import schemas_by
from plugway_openai_wire._policy import MOST_NAME, TOOL
from plugway_openai_wire.responses._policy import SEARCH, Target
from plugway_translation import (
    PLACEHOLDER_LEFT_OUT,
    Notes,
    SchemaRules,
    ToolNames,
    clean_schema,
    drop_by,
    is_placeholder,
    remembered,
    strict_fits,
    type_name,
)


def names_of(tools: Sequence[Mapping[str, Any]], target: Target) -> ToolNames:
    """The target's names for the tools of a request."""
    return _names(tools, target.facts.tool_name_limit or MOST_NAME)


def _names(tools: Sequence[Mapping[str, Any]], limit: int) -> ToolNames:
    return ToolNames([str(tool.get("name")) for tool in tools if "input_schema" in tool], limit)


def tools_of(
    tools: Sequence[Mapping[str, Any]], target: Target, names: ToolNames, notes: Notes
) -> list[Mapping[str, Any]]:
    """The functions for `tools`, without tools that Anthropic runs or defines.

    Treat the items as read-only: the next request may share them.
    """
    rules = schemas_by(target.facts)
    found, noted = _made(tools, rules, names.limit, target.web_search)
    notes.include(noted)
    return [*found]


@remembered
def _made(
    tools: Sequence[Mapping[str, Any]], rules: SchemaRules, limit: int, web_search: bool
) -> tuple[list[Mapping[str, Any]], Notes]:
    notes, found = Notes(), list[Mapping[str, Any]]()
    names = _names(tools, limit)
    for tool in tools:
        if is_placeholder(tool):
            notes.add("tools", "drop", PLACEHOLDER_LEFT_OUT)
        elif "input_schema" in tool:
            found.append(_function(tool, rules, names, notes))
        elif web_search and str(tool.get("type")).startswith(SEARCH):
            found.append(_search(tool, notes))
        else:
            notes.add(
                f"tools.{type_name(tool.get('type'))}", "drop", "the tool is specific to Anthropic"
            )
    return found, notes


def _function(
    tool: Mapping[str, Any], rules: SchemaRules, names: ToolNames, notes: Notes
) -> dict[str, Any]:
    drop_by(TOOL, list(tool), notes, "tools.")
    schema, cut = clean_schema(tool["input_schema"], rules)
    notes.of_tool(str(tool.get("name")), cut)
    strict = tool.get("strict") is True
    if strict and not strict_fits(schema):
        strict = False
        notes.add("tools.strict", "drop", "the schema has optional or additional properties")
    name = str(tool.get("name"))
    short = names.out(name)
    if short != name:
        notes.add("tools.name", "translate", "shortened in the request, restored in the reply")
    made: dict[str, Any] = {"type": "function", "name": short}
    if description := tool.get("description"):
        made["description"] = description
    # `strict` defaults to true, which rejects schemas with optional properties.
    return {**made, "parameters": schema, "strict": strict}


def _search(tool: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """OpenAI's web search in place of Anthropic's."""
    notes.add(
        f"tools.{type_name(tool.get('type'))}", "translate", "replaced by OpenAI's web search"
    )
    if tool.get("blocked_domains"):
        notes.add("tools.blocked_domains", "drop", "the API supports only allowed domains")
    made: dict[str, Any] = {"type": "web_search"}
    if allowed := tool.get("allowed_domains"):
        made["filters"] = {"allowed_domains": allowed}
    if place := as_object(tool.get("user_location")):
        made["user_location"] = place
    return made


def searches_of(
    tools: Sequence[Mapping[str, Any]], made: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Fields needed beside OpenAI's web search tool: the maximum number of searches."""
    if not any(tool["type"] == "web_search" for tool in made):
        return {}
    uses = [tool.get("max_uses") for tool in tools if "input_schema" not in tool]
    limits = [most for most in uses if isinstance(most, int) and most > 0]
    return {"max_tool_calls": min(limits)} if limits else {}


def choice_of(
    choice: Any, tools: Sequence[Mapping[str, Any]], names: ToolNames, notes: Notes
) -> dict[str, Any]:
    """`tool_choice` and `parallel_tool_calls`."""
    wanted = as_object(choice)
    found: dict[str, Any] = {}
    match wanted.get("type"):
        case "auto" | "none" as kind:
            found["tool_choice"] = kind
        case "any":
            found["tool_choice"] = "required"
        case "tool":
            name = names.out(str(wanted.get("name")))
            if any(tool.get("name") == name for tool in tools):
                found["tool_choice"] = {"type": "function", "name": name}
            elif [tool["type"] for tool in tools] == [wanted.get("name")] == ["web_search"]:
                found["tool_choice"] = "required"
            else:
                notes.add("tool_choice", "drop", "the named tool is not in `tools`")
        case _:
            pass
    if wanted.get("disable_parallel_tool_use") is True:
        found["parallel_tool_calls"] = False
    return found
