"""What Claude Code must be told about a window, by its size.

The client's own reserves (20,000 tokens for an answer, 13,000 before it compacts) and the size of
its prompt (19,000 to 22,000 tokens with all tools) leave nothing of a small window. The numbers
were measured with Claude Code 2.1.197.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_SCALED_AT = 167_000
"""Tokens at which the client shall compact where `context-guard` scales (`client_compacts_at`)."""
_RESERVED = 13_000
_LONGEST_RESERVED = 20_000
"""The client compacts when so much is left, and as much as an answer may have, this at most."""
_LEAST_COMPACT = 100_000
"""The client takes a smaller value of the variable for this one, and warns; it then compacts by the
model's own window where that is smaller."""
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
    """What goes with a window."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    deny: tuple[str, ...] = ()
    """Tools that would take too much of the prompt."""


def profile(window: int, *, scaled: bool = False) -> Profile:
    """The profile of a window of so many tokens; 0 where nobody knows it.

    `scaled` says that the gateway scales token counts: then the client is told the window that they
    are made for, as it would take the real one into account a second time. By itself it takes a
    model that it does not know for one of 1,000,000 tokens (2.1.329).
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


def _stated(told: int) -> dict[str, str]:
    return {
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(max(told, _LEAST_COMPACT)),
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(told),
    }
