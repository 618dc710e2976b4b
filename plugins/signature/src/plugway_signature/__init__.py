"""Our own signature of thinking blocks: says who made them, so that nobody else is sent them.

A library, not a plugin. Deciding what to do with a block that somebody else made is the business of
the `thinking` plugin and of engines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_object

__all__ = ["PREFIX", "Signature", "is_ours", "parse_signature", "session_hash", "signature"]

PREFIX: Final = "plugway.1."
"""What every signature of ours begins with, and none of Anthropic's does."""
_MAX_LENGTH: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature of ours says."""

    provider: str
    model: str
    state: Any = None
    """What the provider needs back, as JSON; None where it needs nothing."""
    session: str = ""
    """The `session_hash` of the conversation that it was made in; empty where none was known."""


def signature(provider: str, model: str, state: Any = None, session: str = "") -> str:
    """The signature for a thinking block that `model` of `provider` made. Same input, same text."""
    data: dict[str, Any] = {"p": provider, "m": model}
    if state is not None:
        data["s"] = state
    if session:
        data["c"] = session
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def session_hash(session_id: str | None) -> str:
    """Twelve characters that stand for a conversation and do not tell its id; empty without one."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12] if session_id else ""


def is_ours(text: object) -> bool:
    """Whether a signature claims to be one of ours, readable or not."""
    return isinstance(text, str) and text.startswith(PREFIX)


def parse_signature(text: object) -> Signature | None:
    """What the signature says; None where it is not one of ours."""
    if not isinstance(text, str) or not text.startswith(PREFIX) or len(text) > _MAX_LENGTH:
        return None
    body = text[len(PREFIX) :]
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
        data = as_object(json.loads(raw))
    except (binascii.Error, ValueError, RecursionError):
        return None
    provider, model, session = data.get("p"), data.get("m"), data.get("c", "")
    if not isinstance(provider, str) or not isinstance(model, str) or not isinstance(session, str):
        return None
    return Signature(provider, model, data.get("s"), session)
