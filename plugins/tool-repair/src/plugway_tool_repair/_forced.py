"""Calls that the client requires by `tool_choice`, for servers that do not enforce it.

Ollama's Messages API parses the field and does not use it (`FromMessagesRequest` of its
`anthropic/anthropic.go`); templates and grammars of other servers ignore it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from plugway import MessagesRequest, StreamEvent, as_list, as_object
from plugway_tool_repair._tools import Toolbox
from plugway_wire.gather import MAX_EVENT_BYTES

_NO_WORDS: Final = "(I have not called a tool.)"
"""Used for a reply without text, because a turn without content would be rejected."""


class Demand:
    """Tracks whether a reply has the required call; it is fed the events for the client."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._name = toolbox.forced
        self._said: list[str] = []
        self._held = 0
        self.open = toolbox.forced is not None
        """Whether the call is required and has not been received."""

    def feed(self, items: Iterable[StreamEvent]) -> None:
        """Add events of the reply."""
        if not self.open:
            return
        for item in items:
            block = as_object(item.data.get("content_block"))
            if block.get("type") == "tool_use" and self._name in ("", block.get("name")):
                self.open = False
                self._said.clear()
                return
            self._keep(as_object(item.data.get("delta")))

    @property
    def full(self) -> bool:
        """Whether too much of the reply is held back to wait any longer for a call."""
        return self._held > MAX_EVENT_BYTES

    @property
    def missing(self) -> str:
        """The missing call, for a message."""
        return f"the call to {self._wanted} that `tool_choice` requires"

    def repeated(self, request: MessagesRequest) -> MessagesRequest:
        """The conversation with the reply, and a user turn that asks for the call."""
        said = "".join(self._said).strip() or _NO_WORDS
        text = f"Call {self._wanted} now. Answer with the call alone."
        messages = [
            *as_list(request.body.get("messages")),
            {"role": "assistant", "content": [{"type": "text", "text": said}]},
            {"role": "user", "content": [{"type": "text", "text": text}]},
        ]
        return request.replace(messages=messages, because="the model is asked for its call")

    @property
    def _wanted(self) -> str:
        return f"the tool `{self._name}`" if self._name else "one of the tools"

    def _keep(self, delta: dict[str, Any]) -> None:
        self._held += sum(len(part) for part in delta.values() if isinstance(part, str))
        text = delta.get("text")
        if isinstance(text, str) and not self.full:
            self._said.append(text)
