"""The options: server tools that other backends run themselves."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class ServerToolsOptions(Options):
    """Options of `server-tools`."""

    run_by: dict[str, tuple[str, ...]] = Field(default={})
    """Name of a backend -> prefixes of the server tool types that it runs itself: `web_search`,
    `web_fetch`. Anthropic's own backend runs them all, and `openai` declares what it runs."""
