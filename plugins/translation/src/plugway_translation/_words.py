"""Blocks that a target does not know, told in words. Pure functions; same block, same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import as_list, as_object

REMINDER: Final = ("<system-reminder>", "</system-reminder>")
"""How the client itself wraps what it slips into user turns; models of agents know it."""
ERROR_MARK: Final = "[tool error] "
"""Stands before the result of a tool that failed, where an API has no field for that."""
ATTRIBUTION: Final = "x-anthropic-billing-header:"
"""How the entry at the head of `system` begins that changes with each conversation."""
_SAID: Final = ("text", "stdout", "stderr", "error_code", "title", "url", "source", "content")
"""Members of a result that a model can read, in the order in which they are told."""


def blocks_of(content: Any) -> list[Any]:
    """The blocks of a message or a system prompt; one that is a text is one block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)


def reminder(text: str) -> str:
    """`text` as a reminder in a user turn, unless it is one already."""
    begin, end = REMINDER
    if text.lstrip().startswith(begin):
        return text
    return f"{begin}\n{text}\n{end}"


def in_words(block: Mapping[str, Any]) -> str:
    """What a block says, for a target that does not know its type."""
    kind = str(block.get("type"))
    match kind:
        case "text":
            return said_in(block.get("text"))
        case "tool_reference":
            return f"The tool `{block.get('tool_name')}` was found; it can be called now."
        case "server_tool_use" | "mcp_tool_use":
            arguments = orjson.dumps(block.get("input")).decode()
            return f"[The tool `{block.get('name')}` was called with {arguments}]"
        case "mid_conv_system":
            return reminder(said_in(block.get("content")))
        case "compaction" | "search_result":
            return said_in(block) or f"[{kind}]"
        case _ if kind.endswith("_tool_result"):
            failed = ERROR_MARK if block.get("is_error") is True else ""
            return f"[{kind}]\n{failed}{said_in(block.get('content'))}"
        case _:
            return f"[{kind}]"


def said_in(value: Any) -> str:
    """The readable texts inside of a value, a line each; encrypted members are left out."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(said_in, as_list(value))))
    item = as_object(value)
    return "\n".join(filter(None, (said_in(item[key]) for key in _SAID if key in item)))


def result_text(block: Mapping[str, Any]) -> str:
    """The text of a `tool_result` without its media; a failed one is marked."""
    content = block.get("content")
    if isinstance(content, str):
        text = content
    else:
        told = [
            in_words(inner)
            for part in as_list(content)
            if (inner := as_object(part)).get("type") not in ("image", "document")
        ]
        text = "\n".join(filter(None, told))
    return ERROR_MARK + text if block.get("is_error") is True else text


def result_media(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images and documents in a `tool_result`."""
    parts = [as_object(part) for part in as_list(block.get("content"))]
    return [part for part in parts if part.get("type") in ("image", "document")]


def is_attribution(text: object) -> bool:
    """Whether this is the entry of `system` that would spoil every cached prefix."""
    return isinstance(text, str) and text.startswith(ATTRIBUTION)
