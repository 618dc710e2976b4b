"""The tokens of thinking with our own signature, which its bytes do not show.

Such a signature is base64 of JSON that contains state of the model's vendor, such as encrypted
reasoning, which is base64 itself. Only that vendor is sent the state; others get neither the state
nor the text (`plugway-signature`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import MessagesRequest, as_list, as_object
from plugway_signature import PREFIX, is_ours, parse_signature
from plugway_wire.pieces import Mark

STATE_BYTES_PER_TOKEN: Final = 5
"""Characters per token of encrypted text in base64: 4 characters of base64 encode 3 of it."""
_MARK: Final = Mark(PREFIX.encode())
_SIGNED: Final = {"thinking": "signature", "redacted_thinking": "data"}


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The part of a request with our signatures."""

    apart: bytes = b""
    """Bytes that do not count as text."""
    tokens: float = 0.0
    """Tokens of the state, if the request goes to its vendor."""


NONE: Final = Thoughts()


def thoughts_in(request: MessagesRequest, backend: str) -> Thoughts:
    """The thoughts in a request to `backend`. Costs nothing if there are none."""
    if not _MARK.may_be_in(request, "messages"):
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
    for message in as_list(request.get("messages")):
        for block in map(as_object, as_list(as_object(message).get("content"))):
            mark = block.get(_SIGNED.get(str(block.get("type")), ""))
            if isinstance(mark, str) and is_ours(mark):
                yield block, mark
