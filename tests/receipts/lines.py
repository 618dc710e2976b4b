"""What a line of a receipt speaks of: the features of `facts` that it explains."""

from __future__ import annotations

import re

_FIELD = re.compile(r"(?:set|add|remove|drop|translate|emulate) (.+?): (.*)", re.DOTALL)
_TIMES = re.compile(r" \(\d+ times\)$")

_FIELDS = {
    "metadata.user_id": {"metadata", "safety_identifier", "user"},
    "metadata": {"metadata", "user"},
    "thinking": {"thinking", "thinking.budget", "thinking blocks", "output_config.effort"},
    "messages.thinking": {"thinking blocks"},
    "thinking.budget_tokens": {"thinking.budget"},
    "output_config.effort": {"output_config.effort"},
    "output_config": {"output_config.effort", "output_config.format", "answer.*"},
    "output_config.format": {"output_config.format", "answer.*"},
    "output_format": {"output_config.format", "answer.*"},
    "messages": {"assistant text"},
    "container_upload": {"container_upload"},
    "messages.container_upload": {"container_upload"},
    "system": {"attribution", "system"},
    "tool_choice.disable_parallel_tool_use": {"one call"},
    "tool_choice": {"tool_choice", "one call"},
    "tools.name": {"tools.name", "call"},
    "tool_result.content": {"moved media", "image", "document"},
    "tool_result.is_error": {"is_error", "error mark"},
    "tool_result": {"no result", "moved media", "image", "result", "tool text", "user text"},
    "document": {"document", "left out", "document.title", "document.context"},
    "image": {"image", "left out"},
    "messages.system": {"system text", "reminder"},
    "search_result": {"search_result", "search result in words"},
    "messages.search_result": {"search_result", "search result in words"},
    "messages.tool_use": {"thoughtSignature"},
    "tools": {"tools", "tools.*", "schema.*"},
    "contents.parts.thought": {"thinking blocks"},
    "contents.parts.thoughtSignature": {"thoughtSignature"},
    "messages.prefill": {"assistant text"},
}
_CLAUSES = {
    r"thinking blocks? .*left out": {"thinking blocks"},
    r"a system turn sent as a reminder": {"system text", "reminder", "turns"},
    r"consecutive turns of one role merged": {"turns"},
    r"a `search_result` block written as text": {"search_result", "search result in words"},
    r"a `container_upload` block written as text": {"container_upload", "user text"},
    r"tool_result: it has no matching call": {"result", "tool text", "user text"},
    r"tool_result: a call had none": {"no result", "result"},
    r"calls of server tools sent as ordinary calls": {
        *("server_tool_use", "code_execution_tool_result"),
        *("call", "result", "tool text", "turns"),
    },
    r"old tool results .*cleared": {"image", "tool text"},
    r"`DeferredToolPlaceholder` only has meaning .*left out": {
        *("tools.name", "tools.description", "tools.defer_loading", "schema.*")
    },
    r"only the named tool is offered": {"tools.*", "schema.*"},
    r"offered as a function whose calls fail": {
        *("tools", "tools.name", "tools.description", "schema.*")
    },
    r"the attribution entry": {"attribution"},
    r"drop (image|document): ": {"{0}", "left out", "document.title", "document.context"},
    r"translate document: .*sent as its text": {"document blocks"},
    r"`(cache_control|citations)` left out": {"{0}"},
}
"""Parts of a reason where one line speaks of several things done to a field."""
_AGAIN = re.compile(
    r"the model (is asked for its call|gets the problems of its call)|a tool call was cut off by it"
)
"""Reasons of changes to a request that is sent again: the first one does not have them."""
_FORMAT = "output_config.format."
_VALUE = re.compile(r"[\w-]+-\d{4}-?\d{2}-?\d{2}")


def explained(line: str) -> list[set[str]]:
    """The features that each clause of a line explains, one of which must differ."""
    found = _FIELD.fullmatch(_TIMES.sub("", line))
    if found is None:
        return []
    field, reason = found[1], found[2]
    if _AGAIN.match(reason):
        return []
    if field == "header:anthropic-beta":
        return [{f"beta {value}"} for value in _VALUE.findall(reason)]
    if not line.startswith(("set messages", "set system", "set tools")):
        return [_of_field(field)]
    return [_of_clause(field, clause) for clause in reason.split("; ")]


def _of_field(field: str) -> set[str]:
    if field in _FIELDS:
        return _FIELDS[field]
    for prefix, schema in (("tools.input_schema.", "schema."), (_FORMAT, "answer.")):
        if field.startswith(prefix):
            return {schema + field.removeprefix(prefix).split()[0], f"{schema}description"}
    last = field.rpartition(".")[2]
    return {last} if last in ("cache_control", "citations") else {field}


def _of_clause(field: str, clause: str) -> set[str]:
    for pattern, features in _CLAUSES.items():
        if match := re.search(pattern, clause):
            return {match[1] if one == "{0}" else one for one in features}
    if inner := _FIELD.fullmatch(_TIMES.sub("", clause)):
        return _of_field(inner[1])
    if named := re.match(r"`(\w+)` left out", clause):
        return {f"{field}.{named[1]}"}
    return {f"unknown: {field}: {clause}"}
