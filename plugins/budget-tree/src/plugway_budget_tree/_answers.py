"""The messages for clients and users."""

from __future__ import annotations

from plugway import Reply, RequestRejected, new_id
from plugway_budget_tree._limits import EXAMPLE, Limits
from plugway_budget_tree._tree import Shortage, Tree
from plugway_prices import DOLLAR


def message(model: str, text: str) -> Reply:
    """A reply without a model."""
    return Reply.message(
        {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
    )


def refusal(short: Shortage, limits: Limits) -> RequestRejected:
    """The refusal on which clients stop: 402 is never repeated (README)."""
    return RequestRejected(
        f"Budget reached: this conversation with its subagents {short.what}. Stop here. Only the "
        f"user can continue, by a line such as `@plugway budget {_more(short, limits)}`.",
        status=402,
        retry=False,
        record=True,
    )


def _more(short: Shortage, limits: Limits) -> str:
    """Twice the limit that was reached, as a user would type it."""
    value = getattr(limits, short.kind) or 1
    if short.kind == "nano":
        return f"{value * 2 / DOLLAR:g} dollars"
    return f"{value * 2} {short.kind}"


def spent(tree: Tree, limits: Limits) -> str:
    """What is spent and what the limits are, for the user."""
    used = Limits(tree.nano, tree.tokens, tree.calls).listed
    text = f"This conversation with its subagents has spent {used}."
    if tree.unpriced:
        text += f" The price of {tree.unpriced} call(s) is not known."
    if limits.listed:
        return f"{text} Its limits: {limits.listed}."
    return f"{text} It has no limits; set one with `@plugway budget` and {EXAMPLE}."
