"""The options: what a user writes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plugway import Options


class ContextGuardOptions(Options):
    """Options of `context-guard`."""

    windows: dict[str, Annotated[int, Field(ge=256)]] = Field(default={})
    """Pattern for `instance/model` -> window in tokens, where a server does not say it or says it
    wrong; the first pattern that fits counts."""
    skip_zones: tuple[str, ...] = ("anthropic",)
    """Zones that are left alone: their servers count, refuse and edit by themselves."""
    least_output_tokens: int = Field(default=2048, ge=1)
    """Tokens that must be left for an answer, an eighth of the window at most; a prompt that leaves
    fewer is too long."""
    exact_count: bool = True
    """Ask the backend to count where the estimate is too near to the window to decide."""
    warn_below_tokens: int = Field(default=32_768, ge=0)
    """Windows below this are warned about: Claude Code's own prompt takes some 20,000 tokens."""
    emulate_context_management: bool = True
    """Clear old tool results and thinking here, where the client asks the server to."""
    scale_usage: bool = False
    """Tell Claude Code token counts at which it compacts when the real window is nearly full."""
    compact_share: float = Field(default=0.8, gt=0.1, le=0.95)
    """With `scale_usage`: share of the real window at which the client shall compact."""
    client_compacts_at: int = Field(default=167_000, ge=10_000)
    """With `scale_usage`: tokens at which the client compacts, which is 167,000 where it was told a
    window of 200,000."""
