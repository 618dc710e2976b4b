"""Stores thinking blocks in `thoughtSignature`, and reads them back.

Clients send the signature of a part back with that part, but most omit the thoughts. So a part
carries the preceding blocks, with their provider's signature, in Plugway's envelope. On the wire it
is base64 of bytes like Google's, because clients decode it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from plugway import as_list, as_object
from plugway_signature import PREFIX, parse_signature, signature

MAKER: Final = "gemini-api"
KINDS: Final = ("thinking", "redacted_thinking")
STAND_INS: Final = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
"""Placeholders that Google documents for parts from other sources
(https://ai.google.dev/gemini-api/docs/thought-signatures)."""
_MARK: Final = PREFIX.encode()


class Sealed(NamedTuple):
    """A thinking block and its position."""

    block: dict[str, Any]
    before_text: bool = False
    """Whether text came between the block and the part that carries it."""


def sealed(blocks: Sequence[Sealed], model: str) -> str:
    """Encode complete thinking blocks."""
    state = [[one.block, one.before_text] for one in blocks]
    coded = signature(MAKER, model, state).removeprefix(PREFIX)
    return base64.b64encode(_MARK + _decoded(coded)).decode()


def opened(text: object) -> list[Sealed] | None:
    """Decode the blocks in an envelope written by `sealed`; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        raw = _decoded(text)
    except (binascii.Error, ValueError):
        return None
    if not raw.startswith(_MARK):
        return None
    coded = base64.urlsafe_b64encode(raw.removeprefix(_MARK)).decode().rstrip("=")
    found = parse_signature(PREFIX + coded)
    if found is None or found.provider != MAKER:
        return None
    pairs = [as_list(pair) for pair in as_list(found.state)]
    blocks = [Sealed(as_object(pair[0]), pair[1] is True) for pair in pairs if len(pair) == 2]
    return [one for one in blocks if one.block.get("type") in KINDS]


def _decoded(text: str) -> bytes:
    """Decode base64 of either alphabet, padded or not: SDKs may re-encode it."""
    plain = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
