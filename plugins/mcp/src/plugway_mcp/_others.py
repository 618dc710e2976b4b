"""Tools of other plugins of the gateway, which `/mcp` serves too."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

from plugway import Exchange, MessagesRequest
from plugway_tools import HoldsTools, ToolCall, ToolResult, ToolSpec


class Others:
    """The plugins that hold tools. Each offers what its own configuration allows."""

    def __init__(self, holders: Sequence[HoldsTools]) -> None:
        self._holders = holders

    async def tools(self, taken: Collection[str]) -> list[ToolSpec]:
        """Their tools; the first of a name, and none that is taken."""
        return [spec for spec, _ in (await self._found(taken)).values()]

    async def run(
        self, name: str, arguments: Mapping[str, Any], taken: Collection[str]
    ) -> ToolResult | None:
        """Run a tool for an MCP client, whose calls belong to no request; None if it is unknown."""
        found = (await self._found(taken)).get(name)
        if found is None:
            return None
        exchange = Exchange(MessagesRequest(b"{}"))
        return await found[1].run_tool(ToolCall(f"mcp_{uuid4().hex}", name, arguments, exchange))

    async def _found(self, taken: Collection[str]) -> dict[str, tuple[ToolSpec, HoldsTools]]:
        found: dict[str, tuple[ToolSpec, HoldsTools]] = {}
        for holder in self._holders:
            for spec in await holder.tools():
                if spec.name not in taken:
                    found.setdefault(spec.name, (spec, holder))
        return found
