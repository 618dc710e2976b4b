"""What the person of a conversation reads: what is kept, for how long, and how to stop."""

from __future__ import annotations

from typing import Final

from plugway_recorder._options import RecorderOptions

STOP: Final = "`@plugway record off` stops it"
NO_SESSION: Final = (
    "This client sends no session id (header `x-claude-code-session-id` or `plugway-session-id`), "
    "so its conversations cannot be told apart: nothing is recorded."
)
STOPPED: Final = "its person stopped it"


def started(name: str, options: RecorderOptions) -> str:
    """The confirmation of a recording."""
    return (
        "This conversation is recorded from now on, its subagents included: requests, tool calls "
        f"and numbers of replies, encrypted on this gateway, at most {options.turns:,} turns. "
        f"They are removed {options.days} days after the last. {STOP}, "
        f"`plugway recordings rm {name}` removes it, and "
        f"`plugway replay {name} --on TARGET` shows whether another model would do the same."
    )


def stopped(was: bool, name: str) -> str:
    """The confirmation of the end."""
    if not was:
        return "This conversation is not recorded."
    kept = f"`plugway recordings rm {name}` removes what was recorded"
    return f"This conversation is not recorded any more. {kept}."
