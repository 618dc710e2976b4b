"""Stores thinking blocks in `encrypted_content` of reasoning items, and reads them back.

A Responses client that keeps no state on the server replays reasoning items unchanged. The item
holds the block with its provider's signature, in Plugway's envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_signature import parse_signature, signature

MAKER: Final = "openai-api"
KINDS: Final = ("thinking", "redacted_thinking")


def sealed(block: Mapping[str, Any], model: str) -> str:
    """Encode a complete thinking block."""
    return signature(MAKER, model, dict(block))


def opened(text: object) -> dict[str, Any] | None:
    """Decode the block in an envelope written by `sealed`; None for anything else."""
    found = parse_signature(text)
    if found is None or found.provider != MAKER:
        return None
    block = as_object(found.state)
    return block if block.get("type") in KINDS else None
