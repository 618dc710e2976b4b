"""Reorders messages for strict chat templates. Pure functions.

Mistral's: "Unexpected role 'user' after role 'tool'" (docs.mistral.ai, `mistral-common`); Gemma's,
and Mistral's older one: "roles must alternate user/assistant/user/assistant".
"""

from __future__ import annotations

from typing import Any

from plugway import as_list
from plugway_translation import SEPARATOR, Notes

Message = dict[str, Any]


def strictly_ordered(messages: list[Message], notes: Notes) -> list[Message]:
    """Move user text that follows results into the last result, and merge consecutive messages of
    one role."""
    found: list[Message] = []
    for message in messages:
        last = found[-1] if found else {}
        role, before = message["role"], last.get("role")
        if role == "user" and before == "tool":
            notes.add("messages", "translate", "text beside a result moved into the result")
        elif role == before and role in ("user", "assistant", "system"):
            if "tool_calls" in last:  # calls always have results: the next turn brings its own
                found.append(message)
                continue
            notes.add("messages", "translate", "consecutive turns of one role merged")
        else:
            found.append(message)
            continue
        content = _joined(last.get("content"), message.get("content"))
        found[-1] = {**message, **last, "content": content}
    return found


def _joined(first: Any, second: Any) -> Any:
    """Merge two contents; texts stay text."""
    if isinstance(first, list) or isinstance(second, list):
        return [*_parts(first), *_parts(second)]
    return SEPARATOR.join(text for text in (first, second) if text)


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return as_list(content)
    return [{"type": "text", "text": content}] if content else []
