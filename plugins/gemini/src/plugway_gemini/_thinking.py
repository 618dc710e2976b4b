"""Thinking options for Gemini. Pure functions.

https://ai.google.dev/gemini-api/docs/thinking. Thoughts count toward `maxOutputTokens`, which the
`max_tokens` of a request without thinking does not include.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_object
from plugway_gemini._models import Target
from plugway_translation import Notes, clamp_effort, count, effort_of

ROOM: Final = 1024
"""Tokens added for thoughts that were not requested and cannot be disabled."""
_BUDGETS: Final = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768}


def thinking_config(
    body: Mapping[str, Any], target: Target, notes: Notes
) -> tuple[dict[str, Any], int]:
    """`thinkingConfig`, and tokens to add to the output limit; empty and 0 if not needed."""
    thinking = as_object(body.get("thinking"))
    effort = effort_of(body)
    if effort is None and thinking.get("type") not in ("adaptive", "enabled"):
        effort = "none"  # without the field, thinking is off in the Messages API
    if not target.thinks_by:
        if effort != "none":
            notes.add("thinking", "drop", "this model is not known to support thinking settings")
        return {}, 0
    if effort == "none":
        return _off(target, notes)
    config: dict[str, Any] = {"includeThoughts": thinking.get("display") != "omitted"}
    if target.thinks_by == "budget":
        config["thinkingBudget"] = _budget(effort, thinking, target)
    elif effort is not None:
        config["thinkingLevel"] = level = clamp_effort(effort, target.levels)
        asked = as_object(body.get("output_config")).get("effort")
        if asked is None and "budget_tokens" in thinking:
            notes.add("thinking.budget_tokens", "translate", f"as level `{level}`")
        elif level != effort:
            notes.add("output_config.effort", "translate", f"sent as `{level}`, the nearest level")
    return config, 0


def _off(target: Target, notes: Notes) -> tuple[dict[str, Any], int]:
    """The least possible thinking."""
    if not target.always_thinks:
        return {"thinkingBudget": 0}, 0
    least = target.budgets[0] if target.thinks_by == "budget" else 0
    notes.add("thinking", "emulate", "this model always thinks: set to the least thinking")
    notes.add("max_tokens", "emulate", "raised because thinking counts toward it")
    if least:
        return {"thinkingBudget": least}, least
    return {"thinkingLevel": target.levels[0]}, ROOM


def _budget(effort: str | None, thinking: Mapping[str, Any], target: Target) -> int:
    """The budget in tokens; -1 lets the model decide."""
    asked = count(thinking.get("budget_tokens")) if thinking.get("type") == "enabled" else 0
    if not asked and effort is None:
        return -1
    least, most = target.budgets
    return max(least, min(most, asked or _BUDGETS.get(str(effort), most)))
