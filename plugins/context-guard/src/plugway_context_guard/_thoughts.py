"""What thinking with our own signature costs: not what its bytes look like.

Such a signature is base64 of JSON that holds what the maker wants back, such as encrypted
reasoning, which is base64 itself. The maker is sent that state; anybody else neither the state nor
the text (`plugway-signature`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import MessagesRequest, as_list, as_object
from plugway_signature import PREFIX, is_ours, parse_signature

STATE_BYTES_PER_TOKEN: Final = 5
"""Encrypted text as base64: some 4 characters for a token, 4 letters for 3 of them."""
_SIGNED: Final = {"thinking": "signature", "redacted_thinking": "data"}


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The part of a request that is signed by us."""

    apart: bytes = b""
    """What is not to be counted as text."""
    tokens: float = 0.0
    """What the state counts that its maker is sent."""


NONE: Final = Thoughts()


def thoughts_in(request: MessagesRequest, backend: str) -> Thoughts:
    """The thoughts that a request to `backend` carries. Free for one that carries none."""
    if PREFIX.encode() not in request.raw:
        return NONE
    apart, tokens = list[str](), 0.0
    for block, mark in _signed(request):
        apart.append(mark)
        found = parse_signature(mark)
        if found is None or found.provider != backend:
            text = block.get("thinking")
            apart.append(text if isinstance(text, str) else "")
        elif found.state is not None:
            tokens += len(orjson.dumps(found.state)) / STATE_BYTES_PER_TOKEN
    return Thoughts(orjson.dumps("".join(apart))[1:-1], tokens)


def _signed(request: MessagesRequest) -> Iterator[tuple[dict[str, Any], str]]:
    """Blocks with a signature of ours, and that signature."""
    for message in as_list(request.body.get("messages")):
        for block in map(as_object, as_list(as_object(message).get("content"))):
            mark = block.get(_SIGNED.get(str(block.get("type")), ""))
            if isinstance(mark, str) and is_ours(mark):
                yield block, mark
