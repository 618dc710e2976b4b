"""How the Responses API treats each field of a Messages request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from plugway_capabilities import Facts
from plugway_openai_wire._carried import NOTHING, Carried
from plugway_openai_wire._policy import CACHE, ONE_PROVIDER, ids_of
from plugway_translation import IdCodec, MediaPolicy, Reasoning, Rule

FIELDS: Final[Mapping[str, Rule]] = {
    "cache_control": CACHE,
    "container": Rule("drop", "only Anthropic has containers"),
    "context_management": Rule("drop", "the API does not edit this context"),
    "diagnostics": ONE_PROVIDER,
    "fallback_credit_token": ONE_PROVIDER,
    "fallbacks": ONE_PROVIDER,
    "inference_geo": ONE_PROVIDER,
    "max_tokens": Rule("translate"),
    "mcp_servers": Rule("drop", "MCP servers are not called here"),
    "messages": Rule("translate"),
    "metadata": Rule("translate"),
    "model": Rule("preserve"),
    "output_config": Rule("translate"),
    "output_format": Rule("translate"),
    "service_tier": Rule("translate"),
    "speed": Rule("drop", "the API has tiers instead; set one in the configuration"),
    "stop_sequences": Rule("emulate"),
    "stream": Rule("preserve"),
    "system": Rule("translate"),
    "temperature": Rule("preserve"),
    "thinking": Rule("translate"),
    "tool_choice": Rule("translate"),
    "tools": Rule("translate"),
    "top_k": Rule("drop", "the API has no such field"),
    "top_p": Rule("preserve"),
}
"""Top-level fields. Unlisted ones are dropped with a note."""

LEAST_OUTPUT: Final = 16
"""Minimum `max_output_tokens` of the API (400 "Expected a value >= 16")."""
MOST_ID: Final = 64
"""Maximum length of a `call_id` (`types/responses/response_input_item_param.py` of the `openai`
SDK)."""
SEARCH: Final = "web_search_"
"""Type prefix of Anthropic's web search tools."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request is sent: what the model accepts, and the signer of its reasoning."""

    reasoning: Reasoning
    facts: Facts = field(default_factory=Facts)
    media: MediaPolicy = "placeholder"
    rich_results: bool = True
    """Tool results may contain images and files; otherwise these follow in a user message."""
    web_search: bool = False
    """The API runs web searches, if a client offers Anthropic's web search tool."""
    cache_key: str = ""
    """Id shared by all requests of a conversation, for `prompt_cache_key`."""
    share: str = ""
    """The caller, if each caller has separate cache keys; empty if they are shared."""
    carried: Carried = NOTHING
    """What the client's own request says that the Messages API lacks and this one has."""

    @property
    def ids(self) -> IdCodec:
        """The codec for call ids."""
        return ids_of(self.facts, MOST_ID)
