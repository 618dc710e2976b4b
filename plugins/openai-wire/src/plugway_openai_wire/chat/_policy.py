"""What becomes of each field of a Messages request on the way to Chat Completions, declared; and
what is particular to one server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plugway_anthropic_wire import schemas_by
from plugway_capabilities import Facts
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
"""Top-level fields. One that is not listed is dropped with a record."""

MOST_ID: Final = 40
"""Most characters of the id of a call: OpenAI answers "Invalid 'messages[2].tool_calls[0].id':
string too long. Expected a string with maximum length 40"."""
DEFAULT_STOPS: Final = 4
"""Most stop sequences (API reference of Chat Completions, `stop`)."""

ReasoningStyle = Literal["none", "effort", "object", "switch", "template"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """What is particular to one server. Without arguments: the least that any server takes."""

    output_limit_field: str = "max_tokens"
    stream_usage: bool = True
    """`stream_options.include_usage` is understood."""
    system_turns: Literal["keep", "reminder"] = "reminder"
    """System turns in the conversation stay, or become reminders in user turns: chat templates
    often take `system` at the head only."""
    text_parts: bool = False
    """Several texts of a turn go as parts; otherwise joined to one."""
    images: bool = True
    documents: bool = False
    """Parts of the type `file` are understood."""
    reasoning: ReasoningStyle = "none"
    """How thinking is asked for: `reasoning_effort`; the object `reasoning` (OpenRouter); the
    switch `thinking` (DeepSeek); or arguments of the chat template."""
    efforts: tuple[Effort, ...] = ("low", "medium", "high")
    effortless_tools: str = ""
    """A regular expression for models that take tools with the effort `none` only."""
    reasoning_back: bool = True
    """Thinking goes back to the model that did it."""
    parallel_flag: bool = False
    """`parallel_tool_calls` is understood; otherwise calls after the first are left out here."""
    strict: bool = False
    """`strict` of a function is understood."""
    formats: Literal["schema", "object", "none"] = "schema"
    """`response_format` takes a JSON schema, or only `json_object`."""
    top_k: bool = False
    user_field: str = ""
    """The field that takes `metadata.user_id`."""
    cache_key_field: str = ""
    """The field that takes what requests of one conversation have in common."""
    cache_marks: str = ""
    """A regular expression for models whose prompts are cached up to marks (`cache_control`) that
    the server takes; at other models the marks are left out."""
    result_marks: Literal["part", "message"] = "part"
    """Where a `tool` message has its mark: on the part of text, or on the message itself."""
    prefill: Literal["drop", "keep", "prefix"] = "drop"
    """A last turn of the assistant is left out, sent, or sent with `prefix: true`."""
    strict_order: bool = False
    """Nothing of a user may follow results of tools, and roles alternate."""
    extra_body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Set in every request, over everything else."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: what the server and the model take, and who signs its thinking."""

    reasoning: Reasoning
    quirks: Quirks = field(default_factory=Quirks)
    facts: Facts = field(default_factory=Facts)
    media: MediaPolicy = "placeholder"
    cache_key: str = ""

    @property
    def ids(self) -> IdCodec:
        """The codec for ids of tool calls."""
        return ids_of(self.facts, MOST_ID)

    @property
    def schemas(self) -> SchemaRules:
        """What schemas may have."""
        return schemas_by(self.facts)

    def takes(self, name: str) -> bool:
        """Whether the server is not known to refuse a field."""
        return name not in self.facts.rejected_fields
