"""The options."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plugway import Options


class BudgetsOptions(Options):
    """Options of `budgets`."""

    least_output_tokens: Annotated[int, Field(ge=1)] = 1024
    """A request is rejected if what is left of a budget pays for a shorter reply than this (or
    than `max_tokens`, if that is less)."""
    wait_seconds: Annotated[float, Field(ge=0, le=300, allow_inf_nan=False)] = 5.0
    """How long a request waits for running ones to give back what they reserved and did not use,
    if the budget pays for it then."""
    if_unavailable: Literal["refuse", "allow"] = "refuse"
    """What happens to requests while the database does not respond: `refuse` rejects those of
    callers that may have a limit, `allow` lets all pass and books them later."""
    cut_tokens_per_second: Annotated[int, Field(ge=1, le=100_000)] = 300
    """A reply that was cut off before the server reported its usage is booked with this many tokens
    for each second, at most what was reserved."""
    keep_days: Annotated[int, Field(ge=40, le=36_500)] = 400
    """How many days `plugway budgets spending` goes back; older charges are deleted."""
    contact: str = ""
    """What a person whose budget is spent should do; the end of the message, such as `Ask
    it@example.org for more.`"""
