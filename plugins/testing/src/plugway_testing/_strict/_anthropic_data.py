"""Tables of what the Messages API accepts.

Sources: the request types of Anthropic's Python SDK 2.11 (`types/*_param.py`), and for the rows of
`MODELS` platform.claude.com/docs/en/api/errors ("Common validation errors"),
/build-with-claude/thinking, /effort and the migration guides of Claude 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from plugway_testing._strict._rules import words

FIELDS: Final = words("""
    model messages max_tokens system metadata stop_sequences stream temperature top_p top_k
    thinking tool_choice tools output_config output_format service_tier speed inference_geo
    container context_management mcp_servers diagnostics cache_control safeguards fallbacks
    fallback_credit_token billing_policy compaction thread user_profile_id workspace_id""")
BETAS: Final[Mapping[str, str]] = {
    "context_management": "context-management-",
    "mcp_servers": "mcp-client-",
    "output_format": "structured-outputs-",
    "safeguards": "dangerous-tool-use-",
}
"""Fields that are valid only with a beta whose name starts with this."""
COUNTED: Final = words("""
    model messages system thinking tool_choice tools output_config output_format cache_control
    context_management mcp_servers speed""")
"""The fields of `count_tokens` (`types/message_count_tokens_params.py`)."""
MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(names.split())
    for kind, names in {
        "text": "type text cache_control citations",
        "image": "type source cache_control transformations",
        "document": "type source cache_control citations context title",
        "search_result": "type source title content citations cache_control",
        "thinking": "type thinking signature",
        "redacted_thinking": "type data",
        "tool_use": "type id name input cache_control caller toolset_name",
        "tool_result": "type tool_use_id content is_error cache_control toolset_name",
        "server_tool_use": "type id name input cache_control caller",
        "tool_reference": "type tool_name cache_control",
        "container_upload": "type file_id cache_control",
    }.items()
}
"""The fields of blocks."""
ONLY_IN: Final[Mapping[str, str]] = {
    "tool_use": "assistant",
    "server_tool_use": "assistant",
    "thinking": "assistant",
    "redacted_thinking": "assistant",
    "tool_result": "user",
}
IN_RESULTS: Final = frozenset(
    ("text", "image", "document", "search_result", "tool_reference", "browser_state")
)
TOOL: Final = words("""
    type name description input_schema cache_control strict defer_loading allowed_callers
    eager_input_streaming input_examples""")
ENUMS: Final[Mapping[str, tuple[str, ...]]] = {
    "service_tier": ("auto", "standard_only"),
    "output_config.effort": ("low", "medium", "high", "xhigh", "max"),
    "thinking.type": ("enabled", "disabled", "adaptive", "between_tools"),
    "tool_choice.type": ("auto", "any", "tool", "none"),
}
CHOICE: Final[Mapping[str, frozenset[str]]] = {
    "auto": frozenset(("type", "disable_parallel_tool_use")),
    "any": frozenset(("type", "disable_parallel_tool_use")),
    "tool": frozenset(("type", "name", "disable_parallel_tool_use")),
    "none": frozenset(("type",)),
}
THINKING: Final[Mapping[str, frozenset[str]]] = {
    "enabled": frozenset(("type", "budget_tokens", "display", "block_binding")),
    "adaptive": frozenset(("type", "display", "block_binding")),
    "disabled": frozenset(("type",)),
    "between_tools": frozenset(("type",)),
}
IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_ALL: Final = ("low", "medium", "high", "xhigh", "max")
_NO_XHIGH: Final = ("low", "medium", "high", "max")


@dataclass(frozen=True)
class Model:
    """What one model generation accepts."""

    thinking: tuple[str, ...]
    """Values of `thinking.type`."""
    efforts: tuple[str, ...] | None = ()
    """Values of `output_config.effort`; None if no source lists them."""
    samples: int = 0
    """How many of `temperature` and `top_p` may be set together; 0 forbids all sampling fields."""
    prefill: bool = False
    forced: bool = True
    """Whether `tool_choice` may be `any` or `tool`."""
    system_turns: bool = True
    """Whether the role `system` is accepted after the first turn."""
    output: int = 128_000
    """Maximum `max_tokens`."""


_OLD: Final = ("enabled", "disabled")
_BOTH: Final = ("enabled", "disabled", "adaptive")
_NEW: Final = ("adaptive", "disabled")
_ALWAYS: Final = Model(("adaptive",), _ALL)
_ALWAYS_FREE: Final = Model(("adaptive",), _ALL, forced=False)

MODELS: Final[Mapping[str, Model]] = {
    "claude-haiku-4-5": Model(_OLD, (), 1, prefill=True, system_turns=False, output=64_000),
    "claude-sonnet-4-5": Model(_OLD, (), 1, prefill=True, system_turns=False, output=64_000),
    "claude-opus-4-5": Model(_OLD, _ALL[:3], 1, prefill=True, system_turns=False, output=64_000),
    "claude-sonnet-4-6": Model(_BOTH, _NO_XHIGH, 1, system_turns=False),
    "claude-opus-4-6": Model(_BOTH, _NO_XHIGH, 1, system_turns=False),
    "claude-opus-4-7": Model(_NEW, _ALL, system_turns=False),
    "claude-opus-4-8": Model(_NEW, _ALL),
    "claude-opus-5": Model(_NEW, _ALL),
    "claude-opus-5-5": _ALWAYS_FREE,
    "claude-sonnet-5": Model(_NEW, _ALL),
    "claude-sonnet-5-5": Model(("adaptive", "between_tools"), _ALL, forced=False),
    "claude-haiku-5-5": Model(_NEW, None),
    "claude-fable-5": _ALWAYS,
    "claude-fable-5-1": _ALWAYS_FREE,
    "claude-mythos-5": _ALWAYS,
    "claude-mythos-5-1": _ALWAYS_FREE,
}
"""By name without provider, date and suffix. Models that are not listed have no specific rules.

Where the documentation is silent: measured against the service by opencodex (`src/adapters`, 29
September 2026: thinking, sampling, forced choice) and windf's gateway (17 to 26 September 2026:
thinking, efforts, output).
"""
_SUFFIX: Final = re.compile(r"(?:-\d{8}|-latest|\[1m\]|-v\d+(?::\d+)?|@\d{8})+$")


def model_of(name: str) -> Model | None:
    """The row for a model, if there is one."""
    plain = name.rpartition("/")[2].lower().replace(".", "-")
    return MODELS.get(_SUFFIX.sub("", plain))
