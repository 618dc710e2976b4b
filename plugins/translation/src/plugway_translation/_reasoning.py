"""Thinking of models that are not Anthropic's, carried in thinking blocks with our signature.

The signature says who made it and holds what the maker needs back; a block goes back to its maker
and to nobody else.
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
    """A thinking block that comes back to its maker."""

    text: str
    state: Any
    """What it was signed with; None where it needs nothing."""
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
    """Blocks of the provider's other models are opened too."""

    @classmethod
    def of(cls, provider: str, model: str, session_id: str | None = None) -> Reasoning:
        """For one target in the conversation with that id."""
        return cls(provider, model, session_hash(session_id))

    def sign(self, state: Any = None) -> str:
        """The signature of a block that this target made."""
        return signature(self.provider, self.model, state, self.session)

    def block(self, text: str, state: Any = None) -> dict[str, Any]:
        """A whole block; a `redacted_thinking` one where there is nothing to read."""
        if text:
            return {"type": "thinking", "thinking": text, "signature": self.sign(state)}
        return {"type": "redacted_thinking", "data": self.sign(state)}

    def open(self, block: Mapping[str, Any]) -> Opened | None:
        """What a thinking or redacted block holds; None where somebody else made it."""
        redacted = block.get("type") == "redacted_thinking"
        found = parse_signature(block.get("data" if redacted else "signature"))
        if found is None or found.provider != self.provider:
            return None
        if found.model != self.model and not self.any_model:
            return None
        text = block.get("thinking")
        return Opened(text if isinstance(text, str) else "", found.state, found.model)


def effort_of(body: Mapping[str, Any]) -> Effort | None:
    """How much a request wants to be thought about: `output_config.effort`, else by the budget.

    None where it does not say, `adaptive` included; `none` where thinking is disabled.
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
    """The nearest effort that a target knows; of two as near, the smaller."""
    order: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    at = order.index(effort)
    return min(known, key=lambda e: (abs(order.index(e) - at), order.index(e)))
