"""Translates functions and tool choices to the Messages API. Pure functions.

https://ai.google.dev/gemini-api/docs/function-calling and `Tool`, `ToolConfig` in
https://ai.google.dev/api/caching.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugway_gemini_api._fields import invalid, object_at, objects, text, texts, unknown, word
from plugway_gemini_api._schema import parameters
from plugway_translation import Notes, ToolNames

NAME_LIMIT: Final = 128
"""Maximum length of a tool name in the Messages API; Gemini also allows `.` and `:`."""
_RUN_BY_GOOGLE: Final = (
    *("codeExecution", "enterpriseWebSearch", "exaAiSearch", "fileSearch"),
    *("googleMaps", "googleSearch", "googleSearchRetrieval", "mcpServers"),
    *("parallelAiSearch", "retrieval", "urlContext"),
)
OF_GOOGLE: Final[Mapping[str, str]] = {
    **dict.fromkeys(_RUN_BY_GOOGLE, "Google runs this tool; it cannot run here"),
    "computerUse": "only Google's models know its actions",
}
"""Why tools that are not functions are dropped."""
_DROPPED: Final[Mapping[str, str]] = {
    "behavior": "the Messages API has none",
    "response": "the Messages API does not describe results",
    "responseJsonSchema": "the Messages API does not describe results",
}
_FUNCTION: Final = ("name", "description", "parameters", "parametersJsonSchema")
_CALLING: Final = ("mode", "allowedFunctionNames", "streamFunctionCallArguments")
_CONFIG_DROPPED: Final[Mapping[str, str]] = {
    "retrievalConfig": "only for tools run by Google",
    "includeServerSideToolInvocations": "only for tools run by Google",
}
_MODES: Final = ("", "AUTO", "ANY", "NONE", "VALIDATED")


def declared(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The functions of a request. Raises `InvalidRequest`."""
    found: list[dict[str, Any]] = []
    for index, tool in enumerate(objects(body, "tools", "tools")):
        path = f"tools[{index}].functionDeclarations"
        for at, function in enumerate(objects(tool, "functionDeclarations", path)):
            if not text(function, "name", f"{path}[{at}]"):
                raise invalid(f"{path}[{at}].name", "a function requires a name")
            found.append(function)
    return found


def names_of(functions: Sequence[Mapping[str, Any]]) -> ToolNames:
    """The tool names sent to the model, and back; deterministic."""
    return ToolNames((str(function["name"]) for function in functions), NAME_LIMIT)


def offered(
    body: Mapping[str, Any],
    functions: Sequence[Mapping[str, Any]],
    names: ToolNames,
    notes: Notes,
) -> dict[str, Any]:
    """`tools` and `tool_choice` of the Messages API; empty if there are no functions.

    Raises `InvalidRequest` if a required call cannot be made.
    """
    _note_others(body, notes)
    mode, allowed = _choice(body, notes)
    if allowed:
        known = {str(function["name"]) for function in functions}
        if set(allowed) - known:
            path = "toolConfig.functionCallingConfig.allowedFunctionNames"
            raise invalid(path, "it names a function that is not declared")
        if known - set(allowed):
            notes.add("toolConfig", "translate", "disallowed functions are left out")
        functions = [function for function in functions if function["name"] in allowed]
    if not functions:
        if mode == "ANY":
            raise invalid("toolConfig", "a call is required, but no functions are declared")
        return {}
    for name in names.changed:
        notes.add("tools.name", "translate", f"`{name}` is sent as `{names.changed[name]}`")
    found: dict[str, Any] = {"tools": [_tool(one, names, notes) for one in functions]}
    if mode == "ANY" and len(functions) == 1:
        found["tool_choice"] = {"type": "tool", "name": names.out(str(functions[0]["name"]))}
    elif mode in ("ANY", "NONE"):
        found["tool_choice"] = {"type": mode.lower()}
    return found


def _tool(function: Mapping[str, Any], names: ToolNames, notes: Notes) -> dict[str, Any]:
    unknown(function, (*_FUNCTION, *_DROPPED), "tools", notes)
    for name, because in _DROPPED.items():
        if function.get(name):
            notes.add(f"tools.{name}", "drop", because)
    made: dict[str, Any] = {"name": names.out(str(function["name"]))}
    if description := text(function, "description", "tools.functionDeclarations"):
        made["description"] = description
    return {**made, "input_schema": parameters(function, notes)}


def _choice(body: Mapping[str, Any], notes: Notes) -> tuple[str, list[str]]:
    """The mode, and the allowed functions; empty for all."""
    config = object_at(body, "toolConfig", "")
    unknown(config, ("functionCallingConfig", *_CONFIG_DROPPED), "toolConfig", notes)
    for name, because in _CONFIG_DROPPED.items():
        if config.get(name):
            notes.add(f"toolConfig.{name}", "drop", because)
    path = "toolConfig.functionCallingConfig"
    calling = object_at(config, "functionCallingConfig", "toolConfig")
    unknown(calling, _CALLING, path, notes)
    if calling.get("streamFunctionCallArguments"):
        notes.add(f"{path}.streamFunctionCallArguments", "drop", "calls are always complete")
    mode = word(calling, "mode", path)
    if mode not in _MODES:
        raise invalid(f"{path}.mode", "expected AUTO, ANY, NONE or VALIDATED")
    allowed = texts(calling, "allowedFunctionNames", path)
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise invalid(f"{path}.allowedFunctionNames", "only for the modes ANY and VALIDATED")
    if mode == "VALIDATED":
        notes.add(f"{path}.mode", "drop", "as AUTO: the backend decides whether to enforce schemas")
    return mode, allowed


def _note_others(body: Mapping[str, Any], notes: Notes) -> None:
    for tool in objects(body, "tools", "tools"):
        for name in tool:
            if because := OF_GOOGLE.get(name):
                notes.add(f"tools.{name}", "drop", because)
            elif name != "functionDeclarations":
                notes.add("tools", "drop", "unknown kind of tool")
