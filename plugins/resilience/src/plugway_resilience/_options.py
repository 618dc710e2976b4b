"""The options; their defaults are the policy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from plugway import Options


class ResilienceOptions(Options):
    """Options of `resilience`."""

    max_attempts: int = Field(default=3, ge=1, le=3)
    """Attempts for one request, including retries and fallbacks. The client retries as well."""
    max_repeats: int = Field(default=1, ge=0, le=2)
    """Retries of the last target after a server error."""
    repeat_min_seconds: float = Field(default=0.25, ge=0, le=60)
    """Shortest wait before a retry."""
    repeat_max_seconds: float = Field(default=0.5, ge=0, le=60)
    """Longest wait before a retry."""
    connect_repeat_seconds: tuple[float, ...] = (0.1, 0.4)
    """Waits before the retries to a remote backend that cannot be reached; a local one is not
    retried."""
    budget_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share of retries among the requests that are waiting for their first content."""
    budget_least: int = Field(default=3, ge=0)
    """Number of concurrent retries that is always allowed."""
    before_content_seconds: float = Field(default=150.0, gt=0)
    """Time limit for all remote attempts of a request until the first content."""
    before_content_local_seconds: float = Field(default=1800.0, gt=0)
    """The same for attempts on this machine, where reading a long prompt takes longer."""

    rate_limit_wait_seconds: float = Field(default=2.0, ge=0, le=60)
    """Longest `retry-after` that the gateway waits for itself if no other target is left."""
    stop_after_seconds: float = Field(default=60.0, ge=0)
    """After a longer `retry-after` the client is told not to retry, with the reset time in the
    message."""
    cooldown_seconds: float = Field(default=10.0, gt=0)
    """How long a target is skipped after a 429 without `retry-after`."""
    cooldown_max_seconds: float = Field(default=300.0, gt=0)
    """Longest time that a target is skipped after a 429, whatever its `retry-after`."""
    credential_recheck_seconds: float = Field(default=600.0, gt=0)
    """How long a backend is skipped after it rejected its credential; a reload resets this."""

    breaker_failures: int = Field(default=3, ge=1)
    """Failures in a row that open the circuit of a target, so that it is skipped."""
    breaker_share: float = Field(default=0.5, gt=0, le=1)
    """Share of failures that also opens it."""
    breaker_least_calls: int = Field(default=5, ge=1)
    """Minimum calls within the window for the share to count."""
    breaker_window_seconds: float = Field(default=60.0, gt=0)
    """Length of the window in which calls and failures are counted."""
    breaker_open_seconds: float = Field(default=5.0, gt=0)
    """How long a circuit first stays open; each failed probe doubles it, plus or minus 20%."""
    breaker_open_max_seconds: float = Field(default=120.0, gt=0)
    """Longest time that a circuit stays open."""
    probe_seconds: float = Field(default=10.0, gt=0)
    """How long the first request after that may wait for content if there is another target."""

    join_resends: bool = True
    """Let a request that is sent again join the reply that is already being made for it."""
    resend_after_seconds: tuple[Annotated[float, Field(gt=0)], ...] = (300.0, 600.0)
    """Times after which clients give up, besides the one that they announce; a client that
    disconnects within 12 s of one may send its request again."""
    resend_grace_seconds: float = Field(default=40.0, ge=0, le=600)
    """How long an exchange continues after a client disconnected at such a time; 0 cancels it at
    once, as for all other disconnects."""
    resend_max_bytes: int = Field(default=16 * 1024 * 1024, ge=0)
    """Maximum memory for all replies with a second client; beyond it that client is
    disconnected."""

    @model_validator(mode="after")
    def _waits_are_a_range(self) -> ResilienceOptions:
        if self.repeat_min_seconds > self.repeat_max_seconds:
            raise ValueError("should have a `repeat_min_seconds` not above `repeat_max_seconds`")
        if any(not 0 <= seconds <= 60 for seconds in self.connect_repeat_seconds):
            raise ValueError("should have `connect_repeat_seconds` from 0 to 60")
        return self
