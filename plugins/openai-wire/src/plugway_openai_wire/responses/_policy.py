"""What becomes of each field of a Messages request on the way to the Responses API, declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from plugway_capabilities import Facts
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
"""Top-level fields. One that is not listed is dropped with a record."""

LEAST_OUTPUT: Final = 16
"""Fewest `max_output_tokens` that the API takes (400 "Expected a value >= 16")."""
MOST_ID: Final = 64
"""Most characters of a `call_id` (`types/responses/response_input_item_param.py` of the `openai`
SDK)."""
SEARCH: Final = "web_search_"
"""What the types of Anthropic's tools begin with that search the web."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: what the model there takes, and who signs its reasoning."""

    reasoning: Reasoning
    facts: Facts = field(default_factory=Facts)
    media: MediaPolicy = "placeholder"
    rich_results: bool = True
    """Results of tools may hold images and files; where not, these follow as a user message."""
    web_search: bool = False
    """The API searches the web by itself, where a client asks for Anthropic's tool that does."""
    cache_key: str = ""
    """What requests of one conversation have in common, for `prompt_cache_key`."""
    share: str = ""
    """The caller whose own all keys of caches are; empty for those who share theirs."""

    @property
    def ids(self) -> IdCodec:
        """The codec for ids of tool calls."""
        return ids_of(self.facts, MOST_ID)
