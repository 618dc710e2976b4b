"""The plugin: repairs the replies of backends that are not native."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from plugway import (
    Attempt,
    Exchange,
    MessagesRequest,
    Plugin,
    Reply,
    Send,
    hookimpl,
)
from plugway_tool_repair._options import ToolRepairOptions
from plugway_tool_repair._relayed import Insisting
from plugway_tool_repair._stream import Asking
from plugway_tool_repair._tools import Toolbox, client_names

__all__ = ["ToolRepair", "ToolRepairOptions"]


class ToolRepair(Plugin[ToolRepairOptions]):
    """Repairs tool calls: written as text, with wrong arguments, or missing."""

    outside: ClassVar[tuple[str, ...]] = ("budgets",)  # which counts each try

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The reply, with its calls repaired.

        Raises:
            BackendError: the attempt failed, or its reply is unusable.
        """
        if attempt.backend.zone in self.options.native_zones:
            return await send(request, attempt)
        toolbox = Toolbox(request.body, client_names(request.original))
        if not toolbox and not self.options.without_tools:
            return await send(request, attempt)
        note = partial(exchange.note, self.name, stage="repair")
        if toolbox.forced is not None and request.original is not None and self.options.ask_again:
            send = Insisting(send, toolbox, note)
        return await Asking(send, attempt, self.options, toolbox, note).run(request)
