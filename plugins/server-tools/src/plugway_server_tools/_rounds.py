"""Replies of a model that was offered functions for server tools: calls of them fail.

Anthropic's servers answer such a call and continue with the model in the same message. So does
this, by the loop of `plugway-tools`: the call and its error are sent as blocks, and the model gets
the error as a tool result. `pause_turn` would make the client send the same request again without
limit; ending the turn after the error would leave the user without a reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from plugway_server_tools._known import ServerTool, call_block
from plugway_tools import ToolResult, failed
from plugway_tools.loop import Called, Hidden, Limits

LIMITS: Final = Limits(rounds=2)
"""The model is asked at most twice more within one message."""
_HIDDEN: Final = Hidden(parallel=True)

Note = Callable[[str], None]


class Failing:
    """Runs the calls of one attempt (`plugway_tools.loop.Runner`): each of them fails."""

    def __init__(self, offered: Mapping[str, ServerTool], target: str, note: Note) -> None:
        """`target` is named to the user as the model that cannot run them."""
        self._offered = offered
        self._target = target
        self._note = note
        self._ids: dict[str, str] = {}
        """Id of the block that the client sees, by the id of the model's call."""
        self._failed: dict[str, ServerTool] = {}

    def hidden(self, name: str) -> Hidden | None:
        """A server tool that is offered as a function."""
        return _HIDDEN if name in self._offered else None

    def before(self, call: Called) -> Sequence[Mapping[str, Any]]:
        """The call as a server tool call."""
        self._failed[call.name] = self._offered[call.name]
        block = call_block(call.name, call.arguments or {})
        self._ids[call.id] = block["id"]
        return [block]

    async def run(self, call: Called) -> ToolResult:
        """The error for the model."""
        self._note(f"`{call.name}` was called and cannot be run: an error was sent")
        return failed(self._offered[call.name].model_message(call.name))

    def after(self, call: Called, result: ToolResult) -> Sequence[Mapping[str, Any]]:
        """The block with the error of the call."""
        return [self._offered[call.name].error(self._ids[call.id])]

    def last_words(self, why: str) -> str:
        """The message for the user."""
        words = (tool.message(name, self._target) for name, tool in self._failed.items())
        return " ".join(words)
