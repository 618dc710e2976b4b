"""A limit for the reply to a request: `max_tokens`, and a thinking budget that fits below it."""

from __future__ import annotations

from typing import Any, Final

from plugway_wire.json import as_object

LEAST_THINKING: Final = 1024
"""The smallest thinking budget that the Messages API accepts."""


def reply_limit(thinking: object, tokens: int) -> dict[str, Any]:
    """The fields of a request that limit its reply; `thinking` is what it has now. Thinking that
    does not fit is halved, or disabled where a half is too little."""
    config = as_object(thinking)
    budget = config.get("budget_tokens")
    if not isinstance(budget, int) or budget < tokens:
        return {"max_tokens": tokens}
    less = tokens // 2
    fits = {**config, "budget_tokens": less} if less >= LEAST_THINKING else {"type": "disabled"}
    return {"max_tokens": tokens, "thinking": fits}
