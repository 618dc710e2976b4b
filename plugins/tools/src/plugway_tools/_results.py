"""Results of calls for the model, within limits of their size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from plugway_tools._protocols import ToolResult, failed

MAX_ALL: Final = 16 * 2**20
"""Maximum bytes of all results together."""
Block = Mapping[str, Any]


class Results:
    """The results of one loop."""

    def __init__(self, most: int) -> None:
        """`most` are the characters of the longest text."""
        self._most = most
        self._size = 0

    def bounded(self, result: ToolResult) -> ToolResult:
        """The result, with long texts cut; a failure if all results together are too large.

        Raises `TypeError` for content that is not JSON, which a tool should not return.
        """
        content = tuple(_cut(block, self._most) for block in result.content)
        size = len(orjson.dumps(content))
        if self._size + size > MAX_ALL:
            return failed(
                "The result was dropped: all results together are too large. Ask for less."
            )
        self._size += size
        return replace(result, content=content)


def result_block(call_id: str, result: ToolResult) -> dict[str, Any]:
    """The `tool_result` block."""
    texts = all(block.get("type") == "text" for block in result.content)
    content: Any = (result.text or "(nothing)") if texts else list(result.content)
    made = {"type": "tool_result", "tool_use_id": call_id, "content": content}
    return {**made, "is_error": True} if result.is_error else made


def _cut(block: Block, most: int) -> Block:
    text = block.get("text")
    if not isinstance(text, str):
        return block
    whole = text if text.isascii() else text.encode("utf-8", "replace").decode()
    if len(whole) > most:
        whole = f"{whole[:most]}\n[cut: {len(whole):,} characters; ask for a part]"
    return block if whole is text else {**block, "text": whole}
