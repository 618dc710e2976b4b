"""What a provider wants back with a call, carried through Chat in `extra_content` of the call.

Gemini's own endpoint for this API has its thought signatures there, so that clients that serve it
give back what stands there: ai.google.dev/gemini-api/docs/thought-signatures, "OpenAI
compatibility". Only blocks with a signature of ours travel so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_signature import is_ours

_SPOKEN: Final = "~"
"""Ends the signature of a block whose text is told in `reasoning_content`."""


class Carried:
    """Gathers the signatures that stand before a call."""

    def __init__(self) -> None:
        self._marks: list[str] = []

    def block(self, block: Mapping[str, Any]) -> None:
        """A thinking block, or the delta with its signature."""
        for key, end in (("data", ""), ("signature", _SPOKEN)):
            if is_ours(mark := block.get(key)):
                self._marks.append(f"{mark}{end}")

    def take(self) -> dict[str, Any]:
        """The members of the call; none are kept."""
        marks, self._marks = self._marks, []
        if not marks:
            return {}
        return {"extra_content": {"google": {"thought_signature": " ".join(marks)}}}


def brought(call: Mapping[str, Any], thought: str) -> list[dict[str, Any]]:
    """The blocks that a call brings back; `thought` is the text of the message's thinking."""
    google = as_object(as_object(call.get("extra_content")).get("google"))
    told = google.get("thought_signature")
    marks = told.split(" ") if isinstance(told, str) else []
    found: list[dict[str, Any]] = []
    for mark in marks:
        signature = mark.removesuffix(_SPOKEN)
        if not is_ours(signature):
            continue
        if mark.endswith(_SPOKEN):
            found.append({"type": "thinking", "thinking": thought, "signature": signature})
        else:
            found.append({"type": "redacted_thinking", "data": signature})
    return found
