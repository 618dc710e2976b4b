"""The client's own check of tool calls, which it sends next to a conversation.

Claude Code 2.1.332 sends it when a subagent finishes, and for every call if it must not ask the
server (`CLAUDE_CODE_AUTO_MODE_SERVER=0`): the calls and the user's words go to a model of the
client's choice (`claude-sonnet-5`), whatever model the conversation uses. They must not go anywhere
that the conversation does not.
"""

from __future__ import annotations

from typing import Final

from plugway import Bounded, MessagesRequest, as_list, as_object

MAX_SESSIONS: Final = 512
MAX_TOKENS: Final = 8_192
"""Maximum `max_tokens` of its second stage; the first has 64."""
_MARK: Final = "<severity>"
"""The reply format that such a request asks for: `<severity>N</severity>`."""


def is_own_check(request: MessagesRequest) -> bool:
    """Whether a request is the client's own check of a call."""
    limit = request.get("max_tokens")
    if not isinstance(limit, int) or limit > MAX_TOKENS or request.original is not None:
        return False
    if request.offers_tools:
        return False
    system = request.get("system")
    blocks = [system] if isinstance(system, str) else as_list(system)
    texts = (one if isinstance(one, str) else as_object(one).get("text") for one in blocks)
    return any(isinstance(text, str) and _MARK in text for text in texts)


class Conversations:
    """The last known target of each session's conversation."""

    def __init__(self) -> None:
        self._targets: Bounded[str, tuple[str, str]] = Bounded(MAX_SESSIONS)

    def record(self, session: str, target: tuple[str, str]) -> bool:
        """Remember the target of a session's main conversation; returns whether it is new."""
        new = self._targets.get(session) != target
        self._targets[session] = target
        return new

    def target(self, session: str | None) -> tuple[str, str] | None:
        """(instance, model) of a session's conversation."""
        return self._targets.get(session or "")
