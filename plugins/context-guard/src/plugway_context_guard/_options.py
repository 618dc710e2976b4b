"""The options, as a user writes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from plugway import Options


class ContextGuardOptions(Options):
    """Options of `context-guard`."""

    windows: dict[str, Annotated[int, Field(ge=256)]] = Field(default={})
    """Pattern for `instance/model` -> window in tokens, for servers that do not report it or report
    it wrong; the first matching pattern counts."""
    skip_zones: tuple[str, ...] = ("anthropic",)
    """Zones to skip: their servers count, reject and edit prompts themselves."""
    least_output_tokens: int = Field(default=2048, ge=1)
    """Tokens reserved for a reply, at most an eighth of the window; a prompt that leaves fewer is
    too long."""
    exact_count: bool = True
    """Ask the backend to count if the estimate is too close to the window to decide."""
    warn_below_tokens: int = Field(default=32_768, ge=0)
    """Warn about windows below this: Claude Code's own prompt takes some 20,000 tokens."""
    emulate_context_management: bool = True
    """Clear old tool results and thinking here if the client asks the server to."""
    scale_usage: bool = False
    """Report token counts to Claude Code with which it compacts before the real window is full."""
    compact_share: float = Field(default=0.8, gt=0.1, le=0.95)
    """With `scale_usage`: share of the real window at which the client should compact."""
    client_compacts_at: int = Field(default=167_000, ge=10_000)
    """With `scale_usage`: tokens at which the client compacts; 167,000 if it was configured with a
    window of 200,000."""
