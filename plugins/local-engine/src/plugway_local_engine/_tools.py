"""The tools of a request, and its `tool_choice`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plugway import as_list, as_object
from plugway_toolcalls import Tool
from plugway_translation import PLACEHOLDER_LEFT_OUT, is_placeholder, type_name

ChoiceMode = Literal["auto", "any", "tool", "none"]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """The client's constraints on tool use in this reply."""

    mode: ChoiceMode = "auto"
    name: str = ""
    """The tool to call if `mode` is `tool`."""
    parallel: bool = True
    """Whether more than one call is allowed."""


def tools_of(body: Mapping[str, Any]) -> tuple[tuple[Tool, ...], list[str]]:
    """The tools of a Messages request, and a note for each one that is left out."""
    tools: list[Tool] = []
    notes: list[str] = []
    for entry in as_list(body.get("tools")):
        item = as_object(entry)
        name, kind = str(item.get("name", "")), item.get("type")
        if kind not in (None, "custom"):
            notes.append(f"drop tools: `{type_name(kind)}` runs on a vendor's servers, not here")
        elif is_placeholder(item):
            notes.append(f"drop tools: {PLACEHOLDER_LEFT_OUT}")
        elif name:
            schema = as_object(item.get("input_schema"))
            tools.append(Tool(name, str(item.get("description") or ""), schema))
            notes += _unused(item)
    return tuple(tools), list(dict.fromkeys(notes))


def _unused(item: Mapping[str, Any]) -> list[str]:
    known = {"name", "description", "input_schema", "type"}
    left = sorted(set(item) - known)
    return [
        f"drop tools.{field_name[:64]}: it has no meaning for a local model" for field_name in left
    ]


def tool_choice_of(body: Mapping[str, Any]) -> ToolChoice:
    """The parsed `tool_choice`; `auto` if it is absent or of an unknown type."""
    choice = as_object(body.get("tool_choice"))
    mode = choice.get("type")
    parallel = choice.get("disable_parallel_tool_use") is not True
    if mode == "tool":
        return ToolChoice("tool", str(choice.get("name", "")), parallel)
    if mode == "any":
        return ToolChoice("any", "", parallel)
    if mode == "none":
        return ToolChoice("none", "", parallel)
    return ToolChoice("auto", "", parallel)
