"""Thinking blocks inside of the `encrypted_content` of reasoning items, and out again.

A client of Responses that keeps no state on the server replays reasoning items as it got them. What
it gets holds the block as its maker signed it, in our own envelope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_signature import parse_signature, signature

MAKER: Final = "openai-api"
KINDS: Final = ("thinking", "redacted_thinking")


def sealed(block: Mapping[str, Any], model: str) -> str:
    """The envelope around a whole thinking block."""
    return signature(MAKER, model, dict(block))


def opened(text: object) -> dict[str, Any] | None:
    """The block in an envelope of ours; None for anything else."""
    found = parse_signature(text)
    if found is None or found.provider != MAKER:
        return None
    block = as_object(found.state)
    return block if block.get("type") in KINDS else None
