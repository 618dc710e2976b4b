"""Assembles a conversation turn by turn, in the order that the Messages API requires.

Tool results come first in the turn after their calls. Instructions before the first turn become
`system`, later ones turns of role `system`.
"""

from __future__ import annotations

from typing import Any, Final

from plugway_translation import Notes

Block = dict[str, Any]
Content = str | list[Block]

JSON_ONLY: Final = "Answer with one JSON object and nothing else: no prose, no code fence."
"""Emulates `json_object`, which the Messages API lacks."""


class Turns:
    """The conversation so far."""

    def __init__(self, notes: Notes) -> None:
        self.system: list[Block] = []
        self.messages: list[dict[str, Any]] = []
        self._notes = notes
        self._plain = True
        """Whether `system` consists of one plain text so far."""
        self._results: list[Block] | None = None
        """Content of the last turn, if it holds only results."""

    def instruct(self, content: Content) -> None:
        """Add a message of role `system` or `developer`."""
        blocks = _blocks(content)
        if not blocks:
            return
        if self.messages:
            self._add("system", content)
        else:
            self._plain = isinstance(content, str) and not self.system
            self.system += blocks

    def user(self, content: Content) -> None:
        """Add a user turn; directly after results it joins their turn."""
        blocks = _blocks(content)
        if not blocks:
            self._notes.add("messages", "drop", "a user message without content")
        elif self._results is not None:
            self._results += blocks
            self._results = None
        else:
            self._add("user", content)

    def result(self, tool_use_id: str, content: Content) -> None:
        """Add the result of one call."""
        block: Block = {"type": "tool_result", "tool_use_id": tool_use_id}
        if content:
            block["content"] = content
        if self._results is None:
            self._add("user", [block])
            self._results = self.messages[-1]["content"]
        else:
            self._results.append(block)

    def assistant(self, content: Content, *, join: bool = False) -> None:
        """Add an assistant turn; `join` appends to the last turn if it is one."""
        blocks = _blocks(content)
        if not blocks:
            self._notes.add("messages", "drop", "an assistant message without content")
        elif join and self.messages and self.messages[-1]["role"] == "assistant":
            self.messages[-1]["content"] += blocks
        else:
            self._add("assistant", blocks if join else content)

    def fields(self, *, as_json: bool = False) -> dict[str, Any]:
        """Return `system` and `messages`; `as_json` asks the model for a JSON object."""
        if not self.messages and self.system:
            self._notes.add(
                "messages", "emulate", "instructions without a conversation are sent as a user turn"
            )
            self.messages.append({"role": "user", "content": self.system})
            self.system = []
        if as_json:
            self._notes.add("response_format", "emulate", "JSON is requested in `system`")
            self.system.append({"type": "text", "text": JSON_ONLY})
            self._plain = False
        return {**self.head(), "messages": self.messages}

    def head(self) -> dict[str, Any]:
        """Return `system`, if there is any."""
        if not self.system:
            return {}
        return {"system": self.system[0]["text"] if self._plain else self.system}

    def _add(self, role: str, content: Content) -> None:
        self.messages.append({"role": role, "content": content})
        self._results = None


def _blocks(content: Content) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content
