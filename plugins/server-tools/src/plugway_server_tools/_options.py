"""The options: which other servers run such tools themselves."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class ServerToolsOptions(Options):
    """Options of `server-tools`."""

    run_by: dict[str, tuple[str, ...]] = Field(default={})
    """Name of a backend -> server tools that it runs itself, as their types begin: `web_search`,
    `web_fetch`. Anthropic's own backend runs them all, and `openai` says by itself what it runs."""
