"""What each kind of server takes, as data. Applying it is `_rewrite`'s business.

A policy is a set of names that the target takes: fields of the body (`thinking`), parts of them
(`output_config.effort`, `tools.strict`), and features that are spread over the request
(`cache_control`, `server_tools`). Read in the sources of Ollama (`anthropic/anthropic.go`), vLLM
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
"""Fields of the body that every server of the Messages API takes."""

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
    """What one kind of server takes."""

    takes: frozenset[str]
    system_turns: SystemTurns = "user-reminder"
    merge_turns: bool = True
    everything: bool = False
    """It takes whatever comes, under any name."""


PRESETS: Final[dict[PresetName, Preset]] = {
    "anthropic": Preset(frozenset(), "keep", merge_turns=False, everything=True),
    "compatible": Preset(_COMPATIBLE),
    "llama-server": Preset(CORE | {"thinking"}),
    "lmstudio": Preset(CORE | {"thinking"}),
    # Ollama answers 400 where thinking or effort is asked of a model that has none, and lets
    # models that have it think unless told not to (`server/routes.go`, `ChatHandler`).
    "ollama": Preset(CORE | {"thinking.disabled", "tools.type"}),
    "strict": Preset(CORE),
    "translating": Preset(_ALL, "keep", merge_turns=False),
    # The backend `vllm` tells its chat template that there shall be no thinking.
    "vllm": Preset(
        CORE | {"output_config.effort", "output_config.format", "thinking.disabled", "tools.strict"}
    ),
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
"""What an `anthropic-beta` value begins with, and the name of the half of it that is in the body.
`betas` are values without such a half. A value that is not listed has a half that nobody knows."""

REASONS: Final = {
    "cache_control": "it has no marks for caching",
    "container": "it runs no containers",
    "context_management": "it edits no context",
    "inference_geo": "it is in one place only",
    "mcp_servers": "it calls no MCP servers",
    "metadata": "it says who the user is, and is of no use there",
    "output_config": "it takes neither effort nor an output format",
    "safeguards": "it does not check what a tool call would do",
    "service_tier": "it has no tiers",
    "speed": "it has one speed",
    "thinking": "it has no such switch",
}
"""Why a field of the body is taken away."""

SERVER_BLOCKS: Final = "_tool_result"
"""What the type of a block with the result of a server's tool ends with."""

BLOCK_KEYS: Final = {
    "document": frozenset(("type", "source", "title", "context")),
    "image": frozenset(("type", "source")),
    "redacted_thinking": frozenset(("type", "data")),
    "text": frozenset(("type", "text")),
    "thinking": frozenset(("type", "thinking", "signature")),
    "tool_result": frozenset(("type", "tool_use_id", "content", "is_error")),
    "tool_use": frozenset(("type", "id", "name", "input")),
}
"""Members of the blocks that every server takes."""
BLOCK_EXTRAS: Final = frozenset(("cache_control", "caller", "citations"))
"""Members of blocks that a policy may take."""
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
"""Blocks that are told in words where a policy takes no `beta_blocks`."""
TOOL_KEYS: Final = frozenset(("name", "description", "input_schema"))
"""Members of tools that every server takes."""
