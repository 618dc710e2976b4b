"""How Chat Completions treats each field of a Messages request, and how servers differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plugway_anthropic_wire import schemas_by
from plugway_capabilities import Facts
from plugway_openai_wire._carried import NOTHING, Carried
from plugway_openai_wire._policy import CACHE, ONE_PROVIDER, ids_of
from plugway_translation import Effort, IdCodec, MediaPolicy, Reasoning, Rule, SchemaRules

FIELDS: Final[Mapping[str, Rule]] = {
    "cache_control": CACHE,
    "container": Rule("drop", "only Anthropic has containers"),
    "context_management": Rule("drop", "the API does not edit context"),
    "diagnostics": ONE_PROVIDER,
    "fallback_credit_token": ONE_PROVIDER,
    "fallbacks": ONE_PROVIDER,
    "inference_geo": ONE_PROVIDER,
    "max_tokens": Rule("translate"),
    "mcp_servers": Rule("drop", "the API does not call MCP servers"),
    "messages": Rule("translate"),
    "metadata": Rule("translate"),
    "model": Rule("preserve"),
    "output_config": Rule("translate"),
    "output_format": Rule("translate"),
    "service_tier": Rule("drop", "its tiers differ"),
    "speed": Rule("drop", "the API has only one speed"),
    "stop_sequences": Rule("translate"),
    "stream": Rule("preserve"),
    "system": Rule("translate"),
    "temperature": Rule("preserve"),
    "thinking": Rule("translate"),
    "tool_choice": Rule("translate"),
    "tools": Rule("translate"),
    "top_k": Rule("translate"),
    "top_p": Rule("preserve"),
}
"""Top-level fields. Unlisted ones are dropped with a note."""

MOST_ID: Final = 40
"""Maximum length of a call id: OpenAI answers "Invalid 'messages[2].tool_calls[0].id': string too
long. Expected a string with maximum length 40"."""
DEFAULT_STOPS: Final = 4
"""Maximum number of stop sequences (API reference of Chat Completions, `stop`)."""

ReasoningStyle = Literal["none", "effort", "object", "switch", "template"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """The features of one server. The defaults are the minimum that every server supports."""

    output_limit_field: str = "max_tokens"
    stream_usage: bool = True
    """Supports `stream_options.include_usage`."""
    system_turns: Literal["keep", "reminder"] = "reminder"
    """Whether system turns within the conversation stay, or become reminders in user turns: many
    chat templates accept `system` only at the start."""
    text_parts: bool = False
    """Send several texts of a turn as parts; otherwise join them."""
    images: bool = True
    documents: bool = False
    """Supports parts of type `file`."""
    reasoning: ReasoningStyle = "none"
    """How to request thinking: `reasoning_effort`; the object `reasoning` (OpenRouter); the switch
    `thinking` (DeepSeek); or arguments of the chat template."""
    efforts: tuple[Effort, ...] = ("low", "medium", "high")
    effortless_tools: str = ""
    """Regular expression for models that accept tools only with effort `none`."""
    reasoning_back: bool = True
    """Send thinking back to the model that produced it."""
    parallel_flag: bool = False
    """Supports `parallel_tool_calls`; otherwise the gateway drops all calls but the first."""
    strict: bool = False
    """Supports `strict` in functions."""
    formats: Literal["schema", "object", "none"] = "schema"
    """Whether `response_format` supports a JSON schema, only `json_object`, or nothing."""
    top_k: bool = False
    user_field: str = ""
    """The field for `metadata.user_id`; empty if there is none."""
    cache_key_field: str = ""
    """The field for an id shared by all requests of a conversation; empty if there is none."""
    cache_marks: str = ""
    """Regular expression for models whose prompts are cached up to markers (`cache_control`) that
    the server accepts; for other models markers are dropped."""
    result_marks: Literal["part", "message"] = "part"
    """Where a `tool` message carries its marker: on the text part, or on the message."""
    prefill: Literal["drop", "keep", "prefix"] = "drop"
    """Whether a last assistant turn is dropped, sent, or sent with `prefix: true`."""
    strict_order: bool = False
    """The template requires alternating roles, and no user text after tool results."""
    openai_fields: bool = False
    """Accepts all fields of OpenAI's API, such as `verbosity`; to other servers, only clients of
    Chat Completions send them."""
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Added to every request; overrides other fields."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request is sent: the features of server and model, and the signer of thinking."""

    reasoning: Reasoning
    quirks: Quirks = field(default_factory=Quirks)
    facts: Facts = field(default_factory=Facts)
    media: MediaPolicy = "placeholder"
    cache_key: str = ""
    carried: Carried = NOTHING
    """What the client's own request says that the Messages API lacks and this server has."""

    @property
    def ids(self) -> IdCodec:
        """The codec for call ids."""
        return ids_of(self.facts, MOST_ID)

    @property
    def schemas(self) -> SchemaRules:
        """Which schema keywords are supported."""
        return schemas_by(self.facts)

    def takes(self, name: str) -> bool:
        """Whether the server is not known to reject a field."""
        return name not in self.facts.rejected_fields
