"""Writes server tool calls that others than Anthropic's servers ran as text. Pure functions.

Anthropic reads the pages of a search from `encrypted_content`, and the position of a citation from
`encrypted_index`, both encrypted by its own servers (platform.claude.com/docs, "Web search tool").
A block without them is rejected, so the model reads text instead. What the gateway itself ran is
known by its ids.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import CALL_PREFIX, PREFIX, block_text, blocks_of
from plugway_wire.pieces import Mark

_UNSEALED: Final = re.compile(
    rb'"encrypted_(?:content|index)"\s*:\s*(?:""|null|"%b)|"%b'
    % (PREFIX.encode(), CALL_PREFIX.encode())
)
_MARK: Final = Mark(b'"encrypted_', CALL_PREFIX.encode())


def searches_as_text(request: MessagesRequest) -> MessagesRequest:
    """Write the calls and results of others as text, and remove the citations of their pages.

    Returns the same object if there are none.
    """
    if not _MARK.may_be_in(request, "messages"):
        return request
    raw = request.unparsed("messages")
    if not _UNSEALED.search(request.raw if raw is None else bytes(raw)):
        return request
    messages = [as_object(message) for message in as_list(request.get("messages"))]
    blocks = [as_object(b) for message in messages for b in blocks_of(message.get("content"))]
    foreign = {str(block.get("tool_use_id")) for block in blocks if _is_foreign(block)}
    foreign |= {id_ for block in blocks if (id_ := str(block.get("id"))).startswith(CALL_PREFIX)}
    changed = [_without_searches(message, foreign) for message in messages]
    if changed == messages:
        return request
    because = "calls of server tools by others written as text: Anthropic cannot decrypt them"
    return request.replace(because=because, messages=changed)


def _is_foreign(block: dict[str, Any]) -> bool:
    """Whether it is a result of the gateway's, or of a search with an unencrypted page."""
    if str(block.get("tool_use_id")).startswith(CALL_PREFIX):
        return True
    if block.get("type") != "web_search_tool_result":
        return False
    pages = map(as_object, as_list(block.get("content")))
    return any("encrypted_content" in p and _is_open(p["encrypted_content"]) for p in pages)


def _is_open(value: object) -> bool:
    """Whether a field that Anthropic encrypts was written by others."""
    return not value or (isinstance(value, str) and value.startswith(PREFIX))


def _without_searches(message: dict[str, Any], foreign: set[str]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_block(block, foreign) for block in as_list(content)]}


def _block(block: Any, foreign: set[str]) -> Any:
    fields = as_object(block)
    kind = fields.get("type")
    name = "id" if kind == "server_tool_use" else "tool_use_id"
    if kind != "tool_result" and str(fields.get(name)) in foreign:
        kept = {key: fields[key] for key in ("cache_control",) if key in fields}
        return {"type": "text", "text": block_text(fields), **kept}
    if kind != "text" or not isinstance(fields.get("citations"), list):
        return block
    cited = [as_object(citation) for citation in as_list(fields["citations"])]
    sealed = [c for c in cited if "encrypted_index" not in c or not _is_open(c["encrypted_index"])]
    if len(sealed) == len(cited):
        return block
    rest = {key: value for key, value in fields.items() if key != "citations"}
    return {**rest, "citations": sealed} if sealed else rest
