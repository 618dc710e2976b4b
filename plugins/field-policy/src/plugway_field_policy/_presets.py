"""Data: what each kind of server accepts. `_rewrite` applies it.

A policy is a set of names that the target accepts: fields of the body (`thinking`), parts of them
(`output_config.effort`, `tools.strict`), and features used throughout the request (`cache_control`,
`server_tools`). Taken from the sources of Ollama (`anthropic/anthropic.go`), vLLM
(`entrypoints/anthropic/protocol.py`) and llama.cpp (`server-chat.cpp`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PresetName = Literal[
    "anthropic", "compatible", "llama-server", "lmstudio", "ollama", "strict", "translating", "vllm"
]
SystemTurns = Literal["keep", "user-reminder", "hoist"]

CORE: Final = frozenset(
    (
        "max_tokens",
        "messages",
        "model",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    )
)
"""Body fields that every server of the Messages API accepts."""

_COMPATIBLE: Final = CORE | {
    "betas",
    "cache_control",
    "citations",
    "metadata",
    "output_config.effort",
    "output_config.format",
    "service_tier",
    "thinking",
    "tools.strict",
    "tools.type",
}
_ALL: Final = _COMPATIBLE | {
    "beta_blocks",
    "caller",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "output_config",
    "output_format",
    "server_tools",
    "speed",
    "tool_reference",
    "tools.*",
}


@dataclass(frozen=True, slots=True)
class Preset:
    """What one kind of server accepts."""

    takes: frozenset[str]
    system_turns: SystemTurns = "user-reminder"
    merge_turns: bool = True
    everything: bool = False
    """It accepts any field."""


PRESETS: Final[dict[PresetName, Preset]] = {
    "anthropic": Preset(frozenset(), "keep", merge_turns=False, everything=True),
    "compatible": Preset(_COMPATIBLE),
    "llama-server": Preset(CORE | {"thinking"}),
    "lmstudio": Preset(CORE | {"thinking"}),
    # Ollama answers 400 if thinking or effort is requested from a model without thinking, and
    # lets other models think unless it is disabled (`server/routes.go`, `ChatHandler`).
    "ollama": Preset(CORE | {"thinking.disabled", "tools.type"}),
    "strict": Preset(CORE),
    "translating": Preset(_ALL, "keep", merge_turns=False),
    "vllm": Preset(CORE | {"output_config.effort", "output_config.format", "tools.strict"}),
}

BETAS: Final = (
    ("advanced-tool-use", "tools.defer_loading"),
    ("advisor-tool", "server_tools"),
    ("afk-mode", "safeguards"),
    ("cache-diagnosis", "diagnostics"),
    ("claude-code", "betas"),
    ("code-execution", "server_tools"),
    ("compact", "context_management"),
    ("computer-use", "server_tools"),
    ("context-1m", "betas"),
    ("context-management", "context_management"),
    ("dangerous-tool-use", "safeguards"),
    ("dev-full-thinking", "thinking"),
    ("effort", "output_config.effort"),
    ("extended-cache-ttl", "cache_control"),
    ("fallback-credit", "fallback_credit_token"),
    ("fast-mode", "speed"),
    ("fine-grained-tool-streaming", "tools.eager_input_streaming"),
    ("interleaved-thinking", "thinking"),
    ("mcp-client", "mcp_servers"),
    ("mid-conversation", "beta_blocks"),
    ("model-context-window-exceeded", "betas"),
    ("output-128k", "betas"),
    ("output-300k", "betas"),
    ("prompt-caching", "cache_control"),
    ("redact-thinking", "thinking"),
    ("server-side-fallback", "fallbacks"),
    ("skills", "container"),
    ("structured-outputs", "output_config.format"),
    ("task-budgets", "output_config.task_budget"),
    ("thinking-display-updates", "thinking"),
    ("thinking-token-count", "thinking"),
    ("token-counting", "betas"),
    ("token-efficient-tools", "betas"),
    ("tool-examples", "tools.input_examples"),
    ("tool-search-tool", "tools.defer_loading"),
    ("web-fetch", "server_tools"),
    ("web-search", "server_tools"),
)
"""Prefix of an `anthropic-beta` value, and the name of what it adds to the body. `betas` are values
that add nothing. What an unlisted value adds is unknown."""

REASONS: Final = {
    "cache_control": "it has no cache markers",
    "container": "it does not run containers",
    "context_management": "it does not edit context",
    "inference_geo": "it has only one location",
    "mcp_servers": "it does not call MCP servers",
    "metadata": "it identifies the user and has no effect there",
    "output_config": "it supports neither effort nor an output format",
    "safeguards": "it does not check what a tool call would do",
    "service_tier": "it has no tiers",
    "speed": "it has only one speed",
    "thinking": "it does not support it",
}
"""Why a body field is removed."""

SERVER_BLOCKS: Final = "_tool_result"
"""Type suffix of blocks with the result of a server-side tool."""

BLOCK_KEYS: Final = {
    "document": frozenset(("type", "source", "title", "context")),
    "image": frozenset(("type", "source")),
    "redacted_thinking": frozenset(("type", "data")),
    "text": frozenset(("type", "text")),
    "thinking": frozenset(("type", "thinking", "signature")),
    "tool_result": frozenset(("type", "tool_use_id", "content", "is_error")),
    "tool_use": frozenset(("type", "id", "name", "input")),
}
"""Fields of the blocks that every server accepts."""
BLOCK_EXTRAS: Final = frozenset(("cache_control", "caller", "citations"))
"""Fields of blocks that depend on the policy."""
BETA_BLOCKS: Final = frozenset(
    (
        "compaction",
        "container_upload",
        "fallback",
        "mid_conv_system",
        "search_result",
        "tool_addition",
        "tool_removal",
    )
)
"""Blocks that are written as text unless a policy has `beta_blocks`."""
TOOL_KEYS: Final = frozenset(("name", "description", "input_schema"))
"""Fields of tools that every server accepts."""
