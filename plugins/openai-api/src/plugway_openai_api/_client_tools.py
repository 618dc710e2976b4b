"""Typed tools of Responses that the client runs, as functions, and their items. Pure functions.

Shapes: `local_shell`, `shell`, `apply_patch` and `tool_search` in `types/responses/tool_param.py`
and `response_input_item_param.py` of the `openai` SDK 3.52. A shell in a container and a search
with `execution` `server` are run by OpenAI and are none of these. What OpenAI tells its models of
them is not public; the schemas here say what the items hold. The diffs of `apply_patch` are V4A's:
https://platform.openai.com/docs/guides/tools-apply-patch
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_list, as_object

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_NUMBER: Final = {"type": "integer"}


def _schema(required: str, **properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


_SCHEMAS: Final[Mapping[str, dict[str, Any]]] = {
    "local_shell": _schema(
        "command",
        command={**_TEXTS, "description": 'Program and arguments, as ["bash", "-lc", "ls"].'},
        env={"type": "object", "additionalProperties": _TEXT},
        timeout_ms=_NUMBER,
        user=_TEXT,
        working_directory=_TEXT,
    ),
    "shell": _schema(
        "commands",
        commands={**_TEXTS, "description": "Command lines of a shell, run one by one."},
        timeout_ms=_NUMBER,
        max_output_length={**_NUMBER, "description": "Most characters of output."},
    ),
    "apply_patch": _schema(
        "type path",
        type={**_TEXT, "enum": ["create_file", "update_file", "delete_file"]},
        path=_TEXT,
        diff={
            **_TEXT,
            "description": "V4A diff: lines with `+`, `-` or a space in front, under `@@` lines "
            "that name the place; a new file has `+` lines only. None to delete a file.",
        },
    ),
    "tool_search": _schema("query", query=_TEXT),
}
_DOES: Final[Mapping[str, str]] = {
    "local_shell": "Runs a program on the user's machine.",
    "shell": "Runs commands in a shell on the user's machine.",
    "apply_patch": "Creates, changes or deletes one file by a diff.",
    "tool_search": "Searches for further tools, which can be called afterwards.",
}
KINDS: Final = frozenset(_SCHEMAS)
"""Types of these tools; a function has its type for a name."""
CALLS: Final[Mapping[str, str]] = {f"{kind}_call": kind for kind in KINDS}
OUTPUTS: Final = frozenset(
    (
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call_output",
        "tool_search_output",
    )
)
PREFIXES: Final[Mapping[str, str]] = {
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
    "tool_search": "tsc",
}
"""How ids of items begin."""


def is_client_run(item: Mapping[str, Any]) -> bool:
    """Whether the client runs this tool, or ran this call of one."""
    kind = str(item.get("type"))
    if kind == "shell" or kind == "shell_call":
        return as_object(item.get("environment")).get("type", "local") == "local"
    if kind.startswith("tool_search"):
        return item.get("execution") == "client"
    return kind in KINDS or kind in CALLS or kind in OUTPUTS


def described(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Description and schema of the function for a tool."""
    kind = str(item["type"])
    text, schema = item.get("description"), as_object(item.get("parameters"))
    return (
        text if isinstance(text, str) and text else _DOES[kind],
        schema if schema.get("type") == "object" else _SCHEMAS[kind],
    )


def input_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """The input of the function for a call in the conversation."""
    kind = CALLS[str(item["type"])]
    if kind == "tool_search":
        return as_object(item.get("arguments"))
    told = as_object(item.get("operation" if kind == "apply_patch" else "action"))
    kept = _SCHEMAS[kind]["properties"]
    return {name: value for name, value in told.items() if name in kept and value is not None}


def call_of(kind: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a call's item holds beside its ids, for the input that a model gave; None where the
    input does not say what to do, which is never an empty action."""
    if kind == "tool_search":
        return {"execution": "client", "arguments": dict(given)}
    kept = {name: given[name] for name in _SCHEMAS[kind]["properties"] if name in given}
    if kind == "apply_patch":
        return {"operation": kept} if _is_operation(kept) else None
    field = "command" if kind == "local_shell" else "commands"
    wanted: Any = kept.get(field)
    if isinstance(wanted, str) and wanted.strip():  # a command line where a list belongs
        wanted = ["bash", "-lc", wanted] if kind == "local_shell" else [wanted]
    parts = [_part(part) for part in as_list(wanted)]
    if not parts or None in parts:
        return None
    kept[field] = parts
    if kind == "local_shell":
        return {"action": {"type": "exec", "env": {}, **kept}}
    return {"action": {"timeout_ms": None, "max_output_length": None, **kept}}


def _part(value: Any) -> str | None:
    """A part of a command; a number is written as it is."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if isinstance(value, str) or number else None


def _is_operation(kept: Mapping[str, Any]) -> bool:
    kinds: list[str] = _SCHEMAS["apply_patch"]["properties"]["type"]["enum"]
    deletes = kept.get("type") == "delete_file"
    named = isinstance(kept.get("path"), str) and bool(kept["path"])
    return kept.get("type") in kinds and named and (deletes or isinstance(kept.get("diff"), str))


def told_output(item: Mapping[str, Any]) -> str:
    """What a model is told of the output of a call."""
    output: Any = item.get("output")
    if item.get("type") == "apply_patch_call_output":
        return f"{item.get('status')}: {output}" if output else str(item.get("status"))
    if isinstance(output, str):
        return output
    return "\n".join(_ran(as_object(part)) for part in as_list(output))


def _ran(part: Mapping[str, Any]) -> str:
    outcome = as_object(part.get("outcome"))
    end = (
        "timed out" if outcome.get("type") == "timeout" else f"exit code {outcome.get('exit_code')}"
    )
    texts = [part.get("stdout"), part.get("stderr"), f"({end})"]
    return "\n".join(str(text).rstrip("\n") for text in texts if text)
