"""What Claude Code must be told about a window, by its size.

The client's own reserves (20,000 tokens for an answer, 13,000 before it compacts) and the size of
its prompt (19,000 to 22,000 tokens with all tools) leave nothing of a small window. The numbers
were measured with Claude Code 2.1.197.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ASSUMED = 200_000
"""The window that the client believes a model to have whose id it does not know."""
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

    `scaled` says that the gateway reports token counts as if the window were `ASSUMED`: then the
    client must not be told the real one, which it would take into account a second time.
    """
    if not window:
        return Profile("unknown")
    stated = _stated(window, scaled)
    if window >= 100_000:
        return Profile("large", stated)
    if window >= 48_000:
        return Profile("64K", {**_SMALL, **stated}, ("Workflow",))
    if window >= 24_000:
        return Profile("32K", {**_SLIM, **stated}, _ALL_BULKY)
    answer = str(max(1024, window // 8))
    simple = {"CLAUDE_CODE_SIMPLE": "1", "CLAUDE_CODE_MAX_OUTPUT_TOKENS": answer}
    return Profile("tiny", {**_SLIM, **simple, **stated}, _ALL_BULKY)


def _stated(window: int, scaled: bool) -> dict[str, str]:
    if window < ASSUMED and scaled:
        return {"CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(ASSUMED)}
    compact = {"CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(max(window, _LEAST_COMPACT))}
    if window == ASSUMED:
        return compact
    return {**compact, "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(window)}
