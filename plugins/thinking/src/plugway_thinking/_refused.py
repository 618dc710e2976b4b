"""What servers reject about the thinking in a conversation.

A signature is bound to the text before it, and may be bound to a model, an account or a cloud: a
block that was valid where it was made can be rejected elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from plugway import REMOVE, BackendRefused, Bounded, MessagesRequest, as_list, as_object
from plugway_thinking._blocks import KINDS

MOST_REMEMBERED: Final = 10_000
_BLOCKS: Final = re.compile(
    rb"invalid .?(?:signature|data).? in .?(?:redacted_)?thinking"
    rb"|thinking.? blocks in .{1,60} cannot be modified"
    rb"|encrypted[ _]content.{1,200}could not be (?:verified|decrypted|parsed)"
    rb"|invalid_encrypted_content",
    re.IGNORECASE | re.DOTALL,
)
"""The words of Anthropic and OpenAI."""
_FIRST: Final = re.compile(
    rb"expected .?thinking.? or .?redacted_thinking.?, but found", re.IGNORECASE
)


def rejects_blocks(refusal: BackendRefused) -> bool:
    """Whether the server rejects thinking blocks of the conversation."""
    return refusal.status == 400 and _BLOCKS.search(refusal.body) is not None


def requires_blocks(refusal: BackendRefused) -> bool:
    """Whether the server rejects `thinking`, because the last turn has no thinking block."""
    return refusal.status == 400 and _FIRST.search(refusal.body) is not None


def unthinking(request: MessagesRequest) -> MessagesRequest:
    """The request without `thinking`, and without edits of thinking, which require it."""
    management = as_object(request.get("context_management"))
    edits = as_list(management.get("edits"))
    kept = [e for e in edits if not str(as_object(e).get("type")).startswith("clear_thinking")]
    fields: dict[str, Any] = {"thinking": REMOVE}
    if len(kept) < len(edits):
        fields["context_management"] = {**management, "edits": kept} if kept else REMOVE
    because = "the server requires earlier thinking, which it does not get"
    return request.replace(because=because, **fields)


class Rejected:
    """The signatures that a server has rejected, so that they are not sent to it again."""

    def __init__(self) -> None:
        self._known: Bounded[bytes, None] = Bounded(MOST_REMEMBERED)

    def __contains__(self, mark: object) -> bool:
        return bool(self._known) and isinstance(mark, str) and _digest(mark) in self._known

    def add(self, messages: list[Any]) -> list[bytes]:
        """Remember the signatures of all thinking in a conversation, and return the digests of the
        new ones; the oldest are forgotten."""
        digests = dict.fromkeys(map(_digest, _marks(messages)))
        new = [digest for digest in digests if digest not in self._known]
        for digest in new:
            self._known[digest] = None
        return new

    def forget(self, digests: list[bytes]) -> None:
        """Forget these, because something else was rejected."""
        for digest in digests:
            self._known.pop(digest, None)


def _marks(messages: list[Any]) -> Iterator[str]:
    for message in map(as_object, messages):
        content = message.get("content")
        for block in map(as_object, as_list(content) if isinstance(content, list) else ()):
            mark = block.get(KINDS.get(str(block.get("type")), ""))
            if isinstance(mark, str) and mark:
                yield mark


def _digest(mark: str) -> bytes:
    return blake2b(mark.encode("utf-8", "replace"), digest_size=16).digest()
