"""Finds items of a conversation that only reference data stored at the server by an id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway_wire.json import as_list, as_object

_SEALED: Final[Mapping[Any, str]] = {
    "compaction": "encrypted_content",
    "compaction_summary": "encrypted_content",
    "context_compaction": "encrypted_content",
    "file_search_call": "results",
    "image_generation_call": "result",
    "reasoning": "encrypted_content",
}
"""Items with an `id`, and the member without which a server looks up the stored item."""
_EMPTY: Final = frozenset(("call_id", "id", "phase", "role", "status", "type"))
"""Members of an item that have no content."""


def references(items: Any) -> Iterator[str]:
    """Places of items without content, which a server finds by their id."""
    for at, item in enumerate(as_list(items)):
        members = as_object(item)
        kind = members.get("type")
        if kind == "mcp_approval_response":
            yield f"input[{at}].approval_request_id"
        elif members.get("id") is not None and _is_reference(members, kind):
            yield f"input[{at}].id"


def _is_reference(item: Mapping[str, Any], kind: Any) -> bool:
    if kind is None and item.get("role") is None:
        return True
    if isinstance(kind, str) and kind in _SEALED:
        return not item.get(_SEALED[kind])
    return not any(value for name, value in item.items() if name not in _EMPTY)
