"""Marks of server tool results that the gateway made, which only their vendor's servers could read.

Anthropic's servers put an encrypted page into each result of a search, for themselves to read in a
later turn. The gateway puts its excerpt there, in base64 after a prefix: it is not secret, and a
client sends it back with the conversation.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from plugway import new_id

PREFIX: Final = "plugway:"
"""Start of `encrypted_content` and `encrypted_index` that the gateway made."""
CALL_PREFIX: Final = "srvtoolu_plugway_"
"""Start of the ids of server tool calls that the gateway ran or failed."""
MAX_EXCERPT: Final = 64 * 1024


def own_call_id() -> str:
    """A new id for a server tool call."""
    return new_id(CALL_PREFIX.rstrip("_"))


def excerpt_field(text: str) -> str:
    """`encrypted_content` for an excerpt."""
    return PREFIX + base64.b64encode(text.encode(errors="replace")).decode()


def excerpt_in(value: object) -> str:
    """The excerpt in `encrypted_content`; empty if the gateway did not make it."""
    if not isinstance(value, str) or not value.startswith(PREFIX) or len(value) > MAX_EXCERPT:
        return ""
    try:
        return base64.b64decode(value[len(PREFIX) :], validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""
