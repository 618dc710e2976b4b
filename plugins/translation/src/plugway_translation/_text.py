"""Renders blocks that a target does not support as text. Pure functions, deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_translation._own_results import excerpt_in

REMINDER: Final = ("<system-reminder>", "</system-reminder>")
"""Tags that Claude Code puts around text it adds to user turns; agent models know them."""
ERROR_MARK: Final = "[tool error] "
"""Prefix of the result of a failed tool, for APIs without a field for that."""
ATTRIBUTION: Final = "x-anthropic-billing-header:"
"""Prefix of the first entry of `system`, which changes with each conversation."""
_READABLE: Final = ("text", "stdout", "stderr", "error_code", "title", "url", "source", "content")
"""Readable fields of a result, in the order of output."""


def blocks_of(content: Any) -> list[Any]:
    """The blocks of a message or a system prompt; a string becomes one block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)


def reminder(text: str) -> str:
    """`text` as a reminder in a user turn; unchanged if it is one."""
    begin, end = REMINDER
    if text.lstrip().startswith(begin):
        return text
    return f"{begin}\n{text}\n{end}"


def block_text(block: Mapping[str, Any]) -> str:
    """A block as text, for a target that does not support its type."""
    kind = str(block.get("type"))
    match kind:
        case "text":
            return readable_text(block.get("text"))
        case "tool_reference":
            return f"The tool `{block.get('tool_name')}` was found; it can be called now."
        case "server_tool_use" | "mcp_tool_use":
            arguments = orjson.dumps(block.get("input")).decode()
            return f"[The tool `{block.get('name')}` was called with {arguments}]"
        case "mid_conv_system":
            return reminder(readable_text(block.get("content")))
        case "compaction" | "search_result":
            return readable_text(block) or f"[{kind}]"
        case _ if kind.endswith("_tool_result"):
            failed = ERROR_MARK if block.get("is_error") is True else ""
            return f"[{kind}]\n{failed}{readable_text(block.get('content'))}"
        case _:
            return f"[{kind}]"


def readable_text(value: Any) -> str:
    """The readable texts in a value, one per line; fields that others encrypted are omitted."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(readable_text, as_list(value))))
    item = as_object(value)
    texts = [readable_text(item[key]) for key in _READABLE if key in item]
    if item.get("type") == "text" and isinstance(item.get("data"), str):  # a plain document
        texts.append(item["data"])
    texts.append(excerpt_in(item.get("encrypted_content")))
    return "\n".join(filter(None, texts))


def result_text(block: Mapping[str, Any]) -> str:
    """The text of a `tool_result` without its media; a failed one is marked."""
    content = block.get("content")
    if isinstance(content, str):
        text = content
    else:
        texts = [
            block_text(inner)
            for part in as_list(content)
            if (inner := as_object(part)).get("type") not in ("image", "document")
        ]
        text = "\n".join(filter(None, texts))
    return ERROR_MARK + text if block.get("is_error") is True else text


def result_media(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The images and documents in a `tool_result`."""
    parts = [as_object(part) for part in as_list(block.get("content"))]
    return [part for part in parts if part.get("type") in ("image", "document")]


def is_attribution(text: object) -> bool:
    """Whether `text` is the attribution entry, which would break every cached prefix."""
    return isinstance(text, str) and text.startswith(ATTRIBUTION)
