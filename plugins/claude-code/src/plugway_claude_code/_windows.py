"""Settings for Claude Code by the size of the context window.

The client's reserves (20,000 tokens for a reply, 13,000 before it compacts) and the size of its
prompt (19,000 to 22,000 tokens with all tools) leave nothing of a small window. The numbers were
measured with Claude Code 2.1.197.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_SCALED_AT = 167_000
"""Tokens at which the client should compact if `context-guard` scales (`client_compacts_at`)."""
_RESERVED = 13_000
_LONGEST_RESERVED = 20_000
"""The client compacts when this much remains, plus the output limit, of which at most this much
counts."""
_LEAST_COMPACT = 100_000
"""The client raises smaller values of the variable to this, with a warning; it then compacts by the
model's window if that is smaller."""
_ALL_BULKY = (
    "Workflow",
    "CronCreate",
    "CronDelete",
    "CronList",
    "EnterWorktree",
    "ExitWorktree",
    "NotebookEdit",
    "ReportFindings",
    "ScheduleWakeup",
    "SendMessage",
    "WebSearch",
)
_SMALL = {
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "8192",
    "BASH_MAX_OUTPUT_LENGTH": "12000",
    "MAX_MCP_OUTPUT_TOKENS": "8000",
    "CLAUDE_CODE_FILE_READ_MAX_OUTPUT_TOKENS": "8000",
    "TASK_MAX_OUTPUT_LENGTH": "12000",
}
_SLIM = {
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "4096",
    "BASH_MAX_OUTPUT_LENGTH": "6000",
    "MAX_MCP_OUTPUT_TOKENS": "4000",
    "CLAUDE_CODE_FILE_READ_MAX_OUTPUT_TOKENS": "4000",
    "TASK_MAX_OUTPUT_LENGTH": "6000",
    "CLAUDE_CODE_DISABLE_BUNDLED_SKILLS": "1",
    "CLAUDE_CODE_DISABLE_GIT_INSTRUCTIONS": "1",
    "CLAUDE_CODE_DISABLE_WORKFLOWS": "1",
    "CLAUDE_CODE_DISABLE_CRON": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_TERMINAL_TITLE": "1",
    "CLAUDE_CODE_DISABLE_EXPLORE_PLAN_AGENTS": "1",
    "CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY": "1",
    "CLAUDE_CODE_MAX_CONCURRENT_SUBAGENTS": "1",
}


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings for a window size."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    deny: tuple[str, ...] = ()
    """Tools that would use too much of the prompt."""


def profile(window: int, *, scaled: bool = False) -> Profile:
    """The profile for a window in tokens; 0 if unknown.

    With `scaled`, the gateway scales token counts, and the client gets the window that the scaling
    assumes: with the real one, it would be applied twice. Without a setting, the client assumes
    1,000,000 tokens for an unknown model (2.1.329).
    """
    if not window:
        return Profile("unknown")
    if window >= 100_000:
        name, env, deny = "large", {}, ()
    elif window >= 48_000:
        name, env, deny = "64K", _SMALL, ("Workflow",)
    elif window >= 24_000:
        name, env, deny = "32K", _SLIM, _ALL_BULKY
    else:
        answer = str(max(1024, window // 8))
        simple = {"CLAUDE_CODE_SIMPLE": "1", "CLAUDE_CODE_MAX_OUTPUT_TOKENS": answer}
        name, env, deny = "tiny", {**_SLIM, **simple}, _ALL_BULKY
    answer = int(env.get("CLAUDE_CODE_MAX_OUTPUT_TOKENS", _LONGEST_RESERVED))
    made_for = _SCALED_AT + _RESERVED + min(answer, _LONGEST_RESERVED)
    return Profile(name, {**env, **_stated(made_for if scaled else window)}, deny)


def _stated(tokens: int) -> dict[str, str]:
    return {
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(max(tokens, _LEAST_COMPACT)),
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(tokens),
    }
