"""Rewrite calls of server tools in a conversation as ordinary calls and results. Pure functions.

Anthropic's servers run such a call within one assistant turn. Other models expect a call to end
the turn and its result in the next one, so the turn is split at the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_server_tools._plan import Runs
from plugway_translation import readable_text

_CALLS: Final = ("server_tool_use", "mcp_tool_use")
_RESULT: Final = "_tool_result"
_ERROR: Final = "_error"

Block = dict[str, Any]


def paired(messages: list[Any], runs: Runs) -> tuple[list[Any], int]:
    """The conversation, and the number of rewritten calls; the same list if there are none."""
    if not any(map(_has_calls, messages)):
        return messages, 0
    found: list[Any] | None = None
    count = 0
    for index, message in enumerate(messages):
        pairs = _pairs(message, runs)
        if pairs and found is None:
            found = messages[:index]
        if found is None:
            continue
        if not pairs:
            found.append(message)
            continue
        count += len(pairs)
        found += _cut(message, pairs)
    return (messages, 0) if found is None else (found, count)


def _has_calls(message: Any) -> bool:
    """Whether a turn may contain calls. Runs for every block of every turn, so it is short."""
    content = message["content"]
    if message["role"] != "assistant" or content.__class__ is not list:
        return False
    return any(block.__class__ is dict and block.get("type") in _CALLS for block in content)


def _pairs(message: Any, runs: Runs) -> dict[str, Block]:
    """The results in an assistant turn by the id of their call, if the turn has the call too."""
    content = message.get("content") if message.get("role") == "assistant" else None
    if content.__class__ is not list:
        return {}
    calls: set[str] = set()
    results: dict[str, Block] = {}
    for block in as_list(content):
        if block.__class__ is not dict:
            continue
        kind = str(block.get("type"))
        if kind in _CALLS and "id" in block and not runs.has(f"{block.get('name')}_"):
            calls.add(str(block["id"]))
        elif kind.endswith(_RESULT) and str(block.get("tool_use_id")) in calls:
            results[str(block.get("tool_use_id"))] = block
    return results


def _cut(message: Mapping[str, Any], pairs: Mapping[str, Block]) -> list[Any]:
    """The turns that replace one: results follow their calls, the client's own calls are last."""
    turns: list[Any] = []
    said: list[Any] = []
    own: list[Any] = []
    results: list[Any] = []
    for block in as_list(message["content"]):
        fields = as_object(block)
        kind = fields.get("type")
        if kind in _CALLS and str(fields.get("id")) in pairs:
            said.append(_call(fields))
            results.append(_result(pairs[str(fields["id"])]))
        elif kind == "tool_use":
            own.append(block)
        elif str(fields.get("tool_use_id")) not in pairs:
            if results:
                turns += _turns(message, said, results)
                said, results = [], []
            said.append(block)
    if results:
        turns += _turns(message, said, results)
        said = []
    if said or own:
        turns.append({**message, "content": [*said, *own]})
    return turns


def _turns(message: Mapping[str, Any], said: list[Any], results: list[Any]) -> list[Any]:
    return [{**message, "content": said}, {"role": "user", "content": results}]


def _call(fields: Mapping[str, Any]) -> Block:
    kept = {key: fields[key] for key in ("id", "name", "input", "cache_control") if key in fields}
    return {"type": "tool_use", **kept}


def _result(fields: Mapping[str, Any]) -> Block:
    content = fields.get("content")
    made: Block = {"type": "tool_result", "tool_use_id": fields.get("tool_use_id")}
    inner = as_object(content)
    if str(inner.get("type")).endswith(_ERROR):
        code = inner.get("error_code")
        return {**made, "is_error": True, "content": f"The call failed: {code}."}
    if fields.get("is_error") is True:
        made["is_error"] = True
    return {**made, "content": readable_text(content) or "(nothing)"}
