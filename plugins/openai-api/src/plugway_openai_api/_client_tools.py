"""Typed Responses tools that the client runs, translated to functions and back. Pure functions.

Shapes: `local_shell`, `shell`, `apply_patch` and `tool_search` in `types/responses/tool_param.py`
and `response_input_item_param.py` of the `openai` SDK 3.52. OpenAI runs a shell in a container and
a search with `execution` `server` itself; those are not handled here. OpenAI's own descriptions for
its models are not public, so the schemas here describe the items. `apply_patch` uses V4A diffs:
https://platform.openai.com/docs/guides/tools-apply-patch
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

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
"""Types of these tools; also the names of the functions that represent them."""
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
"""Prefixes of item ids."""


def is_client_run(tool: Mapping[str, Any]) -> bool:
    """Whether the client runs this tool."""
    kind = str(tool.get("type"))
    if kind == "shell":
        return _is_local(tool)
    return tool.get("execution") == "client" if kind == "tool_search" else kind in KINDS


def hosted_ids(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the `call_id` of each call that OpenAI ran: a shell in a container, or a search.

    A search item may omit `execution`; then its pair decides. One without `call_id` is OpenAI's.
    """
    hosted = {""}
    clients: set[str] = set()
    for item in items:
        kind, id_ = item.get("type"), _call_id(item)
        if kind == "shell_call" and not _is_local(item):
            hosted.add(id_)
        elif kind in ("tool_search_call", "tool_search_output"):
            by = {"client": clients, "server": hosted}.get(str(item.get("execution")))
            if by is not None:
                by.add(id_)
    return frozenset(hosted - clients)


def is_hosted(item: Mapping[str, Any], hosted: frozenset[str]) -> bool:
    """Whether `item` belongs to a call that OpenAI ran; `hosted` comes from `hosted_ids`."""
    kind = str(item.get("type"))
    if kind not in CALLS and kind not in OUTPUTS:
        return True
    return kind.startswith(("shell", "tool_search")) and _call_id(item) in hosted


def _is_local(item: Mapping[str, Any]) -> bool:
    return as_object(item.get("environment")).get("type", "local") == "local"


def _call_id(item: Mapping[str, Any]) -> str:
    found = item.get("call_id")
    return found if isinstance(found, str) else ""


def described(item: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the description and the schema of the function that represents a tool."""
    kind = str(item["type"])
    text, schema = item.get("description"), as_object(item.get("parameters"))
    return (
        text if isinstance(text, str) and text else _DOES[kind],
        schema if schema.get("type") == "object" else _SCHEMAS[kind],
    )


def input_of(item: Mapping[str, Any]) -> Any:
    """Return the function's input for a call item of the conversation."""
    kind = CALLS[str(item["type"])]
    names = {"tool_search": "arguments", "apply_patch": "operation"}
    action = item.get(names.get(kind, "action"))
    if not isinstance(action, dict):
        return action
    kept = {name: value for name, value in as_object(action).items() if value is not None}
    if kind == "local_shell":
        kept.pop("type", None)  # `exec`, always
    return kept


def call_of(kind: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of a call item, without its ids, for the input that a model wrote.

    None if the input names no command or operation: an empty action is never sent.
    """
    if kind == "tool_search":
        return {"execution": "client", "arguments": dict(given)}
    kept = {name: given[name] for name in _SCHEMAS[kind]["properties"] if name in given}
    if kind == "apply_patch":
        return {"operation": kept} if _is_operation(kept) else None
    field = "command" if kind == "local_shell" else "commands"
    wanted: Any = kept.get(field)
    if isinstance(wanted, str) and wanted.strip():  # a command line instead of a list
        wanted = ["bash", "-lc", wanted] if kind == "local_shell" else [wanted]
    parts = [_part(part) for part in as_list(wanted)]
    if not parts or None in parts:
        return None
    kept[field] = parts
    if kind == "local_shell":
        return {"action": {"type": "exec", "env": {}, **kept}}
    return {"action": {"timeout_ms": None, "max_output_length": None, **kept}}


def _part(value: Any) -> str | None:
    """A part of a command as text; numbers are converted."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if isinstance(value, str) or number else None


def _is_operation(kept: Mapping[str, Any]) -> bool:
    kinds: list[str] = _SCHEMAS["apply_patch"]["properties"]["type"]["enum"]
    deletes = kept.get("type") == "delete_file"
    named = isinstance(kept.get("path"), str) and bool(kept["path"])
    return kept.get("type") in kinds and named and (deletes or isinstance(kept.get("diff"), str))


def output_text(item: Mapping[str, Any]) -> str:
    """The output of a call as text for the model."""
    output: Any = item.get("output")
    if item.get("type") == "apply_patch_call_output":
        return f"{item.get('status')}: {output}" if output else str(item.get("status"))
    if isinstance(output, list):
        return "\n".join(map(_ran, as_list(output)))
    return output if isinstance(output, str) else orjson.dumps(output).decode()


def _ran(part: Any) -> str:
    fields = as_object(part)
    if not fields:
        return part if isinstance(part, str) else orjson.dumps(part).decode()
    outcome = as_object(fields.get("outcome"))
    end = (
        "timed out" if outcome.get("type") == "timeout" else f"exit code {outcome.get('exit_code')}"
    )
    texts = [fields.get("stdout"), fields.get("stderr"), f"({end})"]
    return "\n".join(str(text).rstrip("\n") for text in texts if text)
