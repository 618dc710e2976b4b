"""Mends tool results of a conversation: each call is answered once, right after it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_list, as_object

NO_RESULT: Final = "[no result: the call was interrupted]"
LEFT_OUT: Final = "[the result of a call that is not part of this conversation was left out]"


def mended(messages: list[Any]) -> tuple[list[Any], list[str]]:
    """The messages, and what was done to them; the same list where nothing was."""
    if not _flawed(messages):
        return messages, []
    result: list[Any] = []
    notes: list[str] = []
    open_calls: dict[str, str] = {}
    for number, entry in enumerate(messages):
        message = as_object(entry)
        role = message.get("role")
        if role == "user":
            following = as_object(messages[number + 1]) if number + 1 < len(messages) else {}
            more = following.get("role") == "user"
            result.append(_user(message, open_calls, notes, more=more))
            continue
        if role == "assistant":
            _close(open_calls, result, notes)
            open_calls = _calls(message)
        result.append(entry)
    _close(open_calls, result, notes)
    return result, notes


def _flawed(messages: list[Any]) -> bool:
    """Whether anything is wrong, found out without building anything."""
    waiting: set[str] = set()
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "assistant":
            if waiting:
                return True
            if isinstance(content, list):
                waiting = {b["id"] for b in as_list(content) if _is(b, "tool_use", "id")}
        elif role == "user":
            found = _result_ids(as_list(content))
            if found is None or len(found) != len(set(found)) or not waiting.issuperset(found):
                return True
            waiting.difference_update(found)
    return bool(waiting)


def _result_ids(content: list[Any]) -> list[str] | None:
    """The ids of the results; None where other content stands before one."""
    found: list[str] = []
    other = False
    for block in content:
        if as_object(block).get("type") == "tool_result":
            if other:
                return None
            found.append(str(block.get("tool_use_id")))
        else:
            other = True
    return found


def _is(block: Any, kind: str, key: str) -> bool:
    item = as_object(block)
    return item.get("type") == kind and isinstance(item.get(key), str)


def _calls(message: Mapping[str, Any]) -> dict[str, str]:
    """Names of the calls by id."""
    return {
        block["id"]: str(block.get("name", ""))
        for block in as_list(message.get("content"))
        if _is(block, "tool_use", "id")
    }


def _user(
    message: dict[str, Any], calls: dict[str, str], notes: list[str], *, more: bool
) -> dict[str, Any]:
    """A user turn with one result for each open call, results first.

    `more`: the next turn is the user's too and may hold the rest.
    """
    content = message.get("content")
    blocks = as_list(content) if isinstance(content, list) else _as_blocks(content)
    results: dict[str, Any] = {}
    others: list[Any] = []
    dropped = moved = False
    for block in blocks:
        if as_object(block).get("type") != "tool_result":
            others.append(block)
            continue
        identifier = str(block.get("tool_use_id"))
        if identifier not in calls or identifier in results:
            kind = "a second result" if identifier in results else "a result without its call"
            notes.append(f"{kind} left out")
            dropped = True
            continue
        moved = moved or bool(others)
        results[identifier] = block
    if moved:
        notes.append("results moved before the text of their turn")
    waiting = dict[str, str]() if more else calls
    for identifier, name in waiting.items():
        if identifier not in results:
            notes.append(f"the call of `{name}` has no result: a placeholder stands for it")
            results[identifier] = _placeholder(identifier)
    for identifier in results:
        calls.pop(identifier)
    if not (dropped or moved or results):
        return message
    new = [*results.values(), *others]
    if not new and dropped:
        new = [{"type": "text", "text": LEFT_OUT}]
    return {**message, "content": new}


def _as_blocks(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else []


def _close(calls: dict[str, str], result: list[Any], notes: list[str]) -> None:
    """A turn of placeholders where the calls have no turn of results."""
    if not calls:
        return
    notes += [
        f"the call of `{n}` has no result: a placeholder stands for it" for n in calls.values()
    ]
    result.append({"role": "user", "content": [_placeholder(identifier) for identifier in calls]})


def _placeholder(identifier: str) -> dict[str, Any]:
    return {
        "type": "tool_result",
        "tool_use_id": identifier,
        "is_error": True,
        "content": NO_RESULT,
    }
