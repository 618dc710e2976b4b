"""Our own signature of thinking blocks: says who made them, so that nobody else is sent them."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from plugway_local_engine._tools import as_object

PREFIX: Final = "plugway.1."
_MAX_LENGTH: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Signature:
    """What a signature of ours says."""

    provider: str
    model: str
    state: Any = None
    """What the provider needs back, as JSON; None where it needs nothing."""


def signature(provider: str, model: str, state: Any = None) -> str:
    """The signature for a thinking block that `model` of `provider` made. Same input, same text."""
    data: dict[str, Any] = {"p": provider, "m": model}
    if state is not None:
        data["s"] = state
    raw = json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


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
    provider, model = data.get("p"), data.get("m")
    if not isinstance(provider, str) or not isinstance(model, str):
        return None
    return Signature(provider, model, data.get("s"))
