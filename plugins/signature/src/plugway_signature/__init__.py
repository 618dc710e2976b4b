"""Plugway's signature of thinking blocks, which names their model so that only it gets them back.

A library, not a plugin. The `thinking` plugin and engines decide what to do with other models'
blocks.
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
"""Prefix of every Plugway signature, and of none of Anthropic's."""
_MAX_LENGTH: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """The content of a Plugway signature."""

    provider: str
    model: str
    state: Any = None
    """What the provider needs back, as JSON; None if nothing."""
    session: str = ""
    """The `session_hash` of the conversation; empty if unknown."""


def signature(provider: str, model: str, state: Any = None, session: str = "") -> str:
    """Sign a thinking block of `model` at `provider`. Deterministic."""
    data: dict[str, Any] = {"p": provider, "m": model}
    if state is not None:
        data["s"] = state
    if session:
        data["c"] = session
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def session_hash(session_id: str | None) -> str:
    """A hash of 12 characters that hides the conversation's id; empty without one."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:12] if session_id else ""


def is_ours(text: object) -> bool:
    """Whether a signature claims to be Plugway's, valid or not."""
    return isinstance(text, str) and text.startswith(PREFIX)


def parse_signature(text: object) -> Signature | None:
    """Parse a signature; None if it is not Plugway's."""
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
