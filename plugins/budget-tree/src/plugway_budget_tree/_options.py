"""The options: limits of all conversations, and of those of certain callers."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field

from plugway import Options
from plugway_budget_tree._limits import Limits
from plugway_prices import nano_dollars


class LimitOptions(Options):
    """Limits of one conversation with all its subagents."""

    dollars: Decimal | None = Field(default=None, ge=0, le=1_000_000, allow_inf_nan=False)
    """US dollars, by the prices of `prices`."""
    tokens: int | None = Field(default=None, ge=0)
    """Tokens of prompts and replies together, cached ones included."""
    calls: int | None = Field(default=None, ge=0)
    """Requests to models, retries included."""
    agents: int | None = Field(default=None, ge=0)
    """Subagents that work at the same time."""

    @property
    def limits(self) -> Limits:
        """The limits as values."""
        nano = None if self.dollars is None else nano_dollars(self.dollars)
        return Limits(nano, self.tokens, self.calls, self.agents)


class BudgetTreeOptions(Options):
    """Options of `budget-tree`."""

    default: LimitOptions = LimitOptions()
    """Limits of each conversation, unless its user sets others with the line or the header."""
    most: LimitOptions = LimitOptions()
    """Limits that no line and no header can exceed."""
    callers: dict[str, LimitOptions] = Field(default={})
    """Pattern for names of callers -> limits of each of their conversations that no line and no
    header can exceed; the first pattern that matches counts."""
    groups: dict[str, LimitOptions] = Field(default={})
    """Pattern for names of groups -> the same for their members (`accounts`); of several groups,
    the strictest counts."""
    without_conversation: Literal["each", "refuse"] = "each"
    """Requests of clients that name no conversation: each is a conversation of its own, or they are
    refused."""
    least_reply: int = Field(default=256, ge=1)
    """If less than so many tokens are left for a reply, the request is refused, not cut short."""
    usual_reply: int = Field(default=16_000, ge=1)
    """If less than so many tokens are left for a reply because running calls have reserved the
    rest, the request waits for them."""
    wait_seconds: float = Field(default=60, ge=0, le=600, allow_inf_nan=False)
    """How long a request waits for running calls of its conversation."""
    if_unavailable: Literal["refuse", "continue"] = "refuse"
    """With `store`: what happens while the database cannot be read or written. Requests are refused
    with 503, or only what this gateway remembers is counted."""
    conversations: int = Field(default=2000, ge=10)
    """Conversations that are remembered; the one that was used least recently is dropped."""
