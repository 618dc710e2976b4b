"""Writes web searches that another vendor's servers ran as text. Pure functions.

Anthropic reads the pages of a search from `encrypted_content`, and the position of a citation from
`encrypted_index`, both encrypted by its own servers (platform.claude.com/docs, "Web search tool").
A block without them is rejected, so the model reads text instead.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import block_text, blocks_of

_UNSEALED: Final = re.compile(rb'"encrypted_(?:content|index)"\s*:\s*(?:""|null)')


def searches_as_text(request: MessagesRequest) -> MessagesRequest:
    """Write unencrypted searches as text, and remove their citations.

    Returns the same object if there are none.
    """
    raw = request.unparsed("messages")
    data = request.raw if raw is None else bytes(raw)
    if b'"encrypted_' not in data or not _UNSEALED.search(data):
        return request
    messages = [as_object(message) for message in as_list(request.get("messages"))]
    blocks = [as_object(b) for message in messages for b in blocks_of(message.get("content"))]
    foreign = {str(block.get("tool_use_id")) for block in blocks if _is_foreign(block)}
    changed = [_without_searches(message, foreign) for message in messages]
    if changed == messages:
        return request
    because = "searches by another vendor written as text: Anthropic cannot decrypt their pages"
    return request.replace(because=because, messages=changed)


def _is_foreign(block: dict[str, Any]) -> bool:
    """Whether it is a search result with an unencrypted page."""
    if block.get("type") != "web_search_tool_result":
        return False
    pages = map(as_object, as_list(block.get("content")))
    return any("encrypted_content" in page and not page["encrypted_content"] for page in pages)


def _without_searches(message: dict[str, Any], foreign: set[str]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_block(block, foreign) for block in as_list(content)]}


def _block(block: Any, foreign: set[str]) -> Any:
    fields = as_object(block)
    kind = fields.get("type")
    name = {"server_tool_use": "id", "web_search_tool_result": "tool_use_id"}.get(str(kind))
    if name and str(fields.get(name)) in foreign:
        kept = {key: fields[key] for key in ("cache_control",) if key in fields}
        return {"type": "text", "text": block_text(fields), **kept}
    if kind != "text" or not isinstance(fields.get("citations"), list):
        return block
    cited = [as_object(citation) for citation in as_list(fields["citations"])]
    sealed = [c for c in cited if "encrypted_index" not in c or c["encrypted_index"]]
    if len(sealed) == len(cited):
        return block
    rest = {key: value for key, value in fields.items() if key != "citations"}
    return {**rest, "citations": sealed} if sealed else rest
