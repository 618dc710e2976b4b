"""The options, with the numbers of the policy as their defaults."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from plugway import Options


class ResilienceOptions(Options):
    """Options of `resilience`."""

    max_attempts: int = Field(default=3, ge=1, le=3)
    """Sends for one request, repeats and fallbacks together. The client repeats on top of that."""
    max_repeats: int = Field(default=1, ge=0, le=2)
    """How often the last target is asked again after an error of the server."""
    repeat_min_seconds: float = Field(default=0.25, ge=0, le=60)
    """Shortest wait before a repeat."""
    repeat_max_seconds: float = Field(default=0.5, ge=0, le=60)
    """Longest wait before a repeat."""
    connect_repeat_seconds: tuple[float, ...] = (0.1, 0.4)
    """Waits before the repeats to a remote backend that cannot be reached; none for a local one."""
    budget_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share of the requests that wait for their first content which may be repeats."""
    budget_least: int = Field(default=3, ge=0)
    """Repeats at once that are always allowed."""
    before_content_seconds: float = Field(default=150.0, gt=0)
    """Time that all remote attempts of a request may take until the first content."""
    before_content_local_seconds: float = Field(default=1800.0, gt=0)
    """The same for attempts on this machine, where reading a long prompt takes its time."""

    rate_limit_wait_seconds: float = Field(default=2.0, ge=0, le=60)
    """Longest `retry-after` that is waited for here, where no other target is left."""
    stop_after_seconds: float = Field(default=60.0, ge=0)
    """A longer `retry-after` makes the client stop, with the time of the reset in the text."""
    cooldown_seconds: float = Field(default=10.0, gt=0)
    """How long a target is left alone after a 429 that does not say how long."""
    cooldown_max_seconds: float = Field(default=300.0, gt=0)
    """Longest time that a target is left alone after a 429, whatever it says."""
    credential_recheck_seconds: float = Field(default=600.0, gt=0)
    """How long a backend is left alone that refused its credential; a reload forgets it."""

    breaker_failures: int = Field(default=3, ge=1)
    """Failures in a row that open the circuit of a target: it is left alone."""
    breaker_share: float = Field(default=0.5, gt=0, le=1)
    """Share of failures that opens it too."""
    breaker_least_calls: int = Field(default=5, ge=1)
    """Calls within the window from which the share counts."""
    breaker_window_seconds: float = Field(default=60.0, gt=0)
    """The window, in which calls and failures are counted."""
    breaker_open_seconds: float = Field(default=5.0, gt=0)
    """How long a circuit is open at first; each failed probe doubles it, give or take a fifth."""
    breaker_open_max_seconds: float = Field(default=120.0, gt=0)
    """How long a circuit is open at most."""
    probe_seconds: float = Field(default=10.0, gt=0)
    """How long the first request after that may wait for content, where there is another target."""

    join_resends: bool = True
    """Let a request that is asked again join the answer that is already being made for it."""
    resend_after_seconds: tuple[Annotated[float, Field(gt=0)], ...] = (300.0, 600.0)
    """Times after which clients give up, besides the one that they say; who leaves within 12 s of
    one may ask again."""
    resend_grace_seconds: float = Field(default=40.0, ge=0, le=600)
    """How long the work goes on for a client that left at such a time; 0 stops it at once, as for
    every other client that leaves."""
    resend_max_bytes: int = Field(default=16 * 1024 * 1024, ge=0)
    """Most that all answers with a second client may take in memory; beyond it that client is cut
    off."""

    @model_validator(mode="after")
    def _waits_are_a_range(self) -> ResilienceOptions:
        if self.repeat_min_seconds > self.repeat_max_seconds:
            raise ValueError("should have a `repeat_min_seconds` not above `repeat_max_seconds`")
        if any(not 0 <= seconds <= 60 for seconds in self.connect_repeat_seconds):
            raise ValueError("should have `connect_repeat_seconds` from 0 to 60")
        return self
