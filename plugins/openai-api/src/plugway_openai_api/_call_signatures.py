"""Signatures of thinking blocks, carried through Chat in `extra_content` of a tool call.

Gemini's own endpoint for this API puts its thought signatures there, so clients that support it
send them back: ai.google.dev/gemini-api/docs/thought-signatures, "OpenAI compatibility". Only
signatures that Plugway wrote are carried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_signature import is_ours

_WITH_TEXT: Final = "~"
"""Suffix of the signature of a block whose text is in `reasoning_content`."""


class CallSignatures:
    """Collects the signatures that precede a call."""

    def __init__(self) -> None:
        self._marks: list[str] = []

    def block(self, block: Mapping[str, Any]) -> None:
        """Add the signature of a thinking block or of a signature delta, if Plugway wrote it."""
        for key, end in (("data", ""), ("signature", _WITH_TEXT)):
            if is_ours(mark := block.get(key)):
                self._marks.append(f"{mark}{end}")

    def take(self) -> dict[str, Any]:
        """Return the fields to add to the next call, and forget the collected signatures."""
        marks, self._marks = self._marks, []
        if not marks:
            return {}
        return {"extra_content": {"google": {"thought_signature": " ".join(marks)}}}


def blocks_of_call(call: Mapping[str, Any], thought: str) -> list[dict[str, Any]]:
    """Thinking blocks that a call carries; `thought` is the text of the message's thinking."""
    google = as_object(as_object(call.get("extra_content")).get("google"))
    text = google.get("thought_signature")
    marks = text.split(" ") if isinstance(text, str) else []
    found: list[dict[str, Any]] = []
    for mark in marks:
        signature = mark.removesuffix(_WITH_TEXT)
        if not is_ours(signature):
            continue
        if mark.endswith(_WITH_TEXT):
            found.append({"type": "thinking", "thinking": thought, "signature": signature})
        else:
            found.append({"type": "redacted_thinking", "data": signature})
    return found
