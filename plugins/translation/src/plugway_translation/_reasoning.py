"""Carries thinking of models from other providers in thinking blocks with Plugway's signature.

The signature names the target that produced the thinking and holds the state to send back to it. A
block is sent back only to that target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from plugway import as_object
from plugway_signature import parse_signature, session_hash, signature

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


@dataclass(frozen=True, slots=True)
class Opened:
    """The content of a thinking block that is sent back to its target."""

    text: str
    state: Any
    """The signed state; None if there is none."""
    model: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Signs and opens the thinking blocks of one target."""

    provider: str
    """The backend's instance name."""
    model: str
    session: str = ""
    """`session_hash` of the conversation."""
    any_model: bool = False
    """Also open blocks of the provider's other models."""

    @classmethod
    def of(cls, provider: str, model: str, session_id: str | None = None) -> Reasoning:
        """Create one for a target and the conversation with that id."""
        return cls(provider, model, session_hash(session_id))

    def sign(self, state: Any = None) -> str:
        """The signature for a block of this target."""
        return signature(self.provider, self.model, state, self.session)

    def block(self, text: str, state: Any = None) -> dict[str, Any]:
        """A complete block; `redacted_thinking` if `text` is empty."""
        if text:
            return {"type": "thinking", "thinking": text, "signature": self.sign(state)}
        return {"type": "redacted_thinking", "data": self.sign(state)}

    def open(self, block: Mapping[str, Any]) -> Opened | None:
        """The content of a thinking or redacted block; None if another target produced it."""
        redacted = block.get("type") == "redacted_thinking"
        found = parse_signature(block.get("data" if redacted else "signature"))
        if found is None or found.provider != self.provider:
            return None
        if found.model != self.model and not self.any_model:
            return None
        text = block.get("thinking")
        return Opened(text if isinstance(text, str) else "", found.state, found.model)


def effort_of(body: Mapping[str, Any]) -> Effort | None:
    """The requested effort: `output_config.effort`, or else derived from the thinking budget.

    None if not set, also for `adaptive`; `none` if thinking is disabled.
    """
    thinking = as_object(body.get("thinking"))
    if thinking.get("type") == "disabled":
        return "none"
    match as_object(body.get("output_config")).get("effort"):
        case "minimal" | "low" | "medium" | "high" | "xhigh" | "max" as effort:
            return effort
        case _:
            pass
    budget = thinking.get("budget_tokens")
    if thinking.get("type") != "enabled" or not isinstance(budget, int):
        return None
    if budget <= 4096:
        return "low"
    return "medium" if budget <= 16384 else "high"


def clamp_effort(effort: Effort, known: tuple[Effort, ...]) -> Effort:
    """The nearest effort that a target supports; the smaller of two equally near ones."""
    order: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    at = order.index(effort)
    return min(known, key=lambda e: (abs(order.index(e) - at), order.index(e)))
