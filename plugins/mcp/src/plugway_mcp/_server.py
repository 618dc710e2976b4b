"""The protocol: the official SDK's server and transport, stateless.

Importing it costs 25 MiB and a quarter of a second, so `_endpoint` does that with the first
request.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import anyio
from anyio.abc import TaskStatus
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    ListPromptsResult,
    ListToolsResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    TextContent,
    ToolAnnotations,
)
from mcp.types import Tool as McpTool
from pydantic import ValidationError
from starlette.types import ASGIApp

from plugway_mcp._calls import TOOL_USE_ID
from plugway_mcp._lazy import LazyMounts
from plugway_mcp._others import Others
from plugway_mcp._tools import Tool, ToolFailed, Tools
from plugway_tools import ToolResult, ToolSpec, harmless, problems_of, schema_of

MAX_BODY_BYTES: Final = 4 * 2**20
CALLS_AT_ONCE: Final = 8
MOUNTED_AT_ONCE: Final = 32
MOUNTED_DESCRIPTION: Final = 400
"""Longest description of a mounted tool. A client keeps all of them in the model's context."""
INSTRUCTIONS: Final = (
    "Plugway is the gateway between this client and every model. Use `endpoint_set` only when the "
    "user asks for another model; `endpoint_list` shows what there is. `endpoint_recommend`, "
    "`context_report`, `usage_report` and `explain_last` answer questions about this conversation."
)

Context = ServerRequestContext[Any, Any]


async def serve(
    tools: Tools,
    mounts: LazyMounts | None = None,
    others: Others | None = None,
    *,
    task_status: TaskStatus[ASGIApp],
) -> None:
    """Serve `tools` and those of mounted servers and other plugins until cancelled; the request
    handler is passed to `task_status.started`."""
    manager = StreamableHTTPSessionManager(
        server_of(tools, mounts, others),
        json_response=True,
        stateless=True,
        max_request_body_size=MAX_BODY_BYTES,
    )
    async with manager.run():
        task_status.started(manager.handle_request)
        await anyio.sleep_forever()


def server_of(
    tools: Tools, mounts: LazyMounts | None = None, others: Others | None = None
) -> Server[Any]:
    """The MCP server that offers `tools`, those of mounted servers and of other plugins, and the
    prompt `switch`."""
    known = {tool.name: tool for tool in tools.all()}
    announced = [_announced(tool) for tool in known.values()]
    limiter = anyio.CapacityLimiter(CALLS_AT_ONCE)
    more = _More(known, mounts, others)

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[*announced, *map(_announced_mounted, await more.tools())])

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        tool = known.get(params.name)
        if tool is None:
            return await more.call(params.name, params.arguments or {})
        try:
            arguments = tool.arguments.model_validate(params.arguments or {})
        except ValidationError as error:
            problems, names = problems_of(tool.arguments, error)
            raise MCPError(INVALID_PARAMS, f"{problems} (arguments: {names})") from None
        meta: Mapping[str, Any] = context.meta or {}
        async with limiter:
            try:
                text = await tool.run(arguments, tools.caller(meta.get(TOOL_USE_ID)))
            except ToolFailed as failure:
                return _result(str(failure), failed=True)
        return _result(text)

    async def list_prompts(_: Context, __: PaginatedRequestParams | None) -> ListPromptsResult:
        return ListPromptsResult(prompts=[SWITCH])

    async def get_prompt(_: Context, params: GetPromptRequestParams) -> GetPromptResult:
        if params.name != SWITCH.name:
            raise MCPError(INVALID_PARAMS, f"unknown prompt {params.name[:100]!r}")
        name = " ".join((params.arguments or {}).get("endpoint", "").split())[:200]
        text = f"@plugway use {name}" if name else "@plugway list"
        message = PromptMessage(role="user", content=TextContent(type="text", text=text))
        return GetPromptResult(description=SWITCH.description, messages=[message])

    return Server(
        "plugway",
        title="Plugway",
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


class _More:
    """The tools of mounted servers, then those of other plugins; a name is served once."""

    def __init__(
        self, known: Collection[str], mounts: LazyMounts | None, others: Others | None
    ) -> None:
        self._known = known
        self._mounts = mounts
        self._others = others
        self._limiter = anyio.CapacityLimiter(MOUNTED_AT_ONCE)

    async def tools(self) -> list[ToolSpec]:
        mounts = await self._mounts.get() if self._mounts is not None else None
        mounted = await mounts.tools() if mounts is not None else []
        if self._others is None:
            return mounted
        taken = {*self._known, *(spec.name for spec in mounted)}
        return [*mounted, *await self._others.tools(taken)]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        async with self._limiter:
            mounts = await self._mounts.get() if self._mounts is not None else None
            if mounts is not None and name in await mounts.offers(start=False):
                return _converted(await mounts.run(name, arguments))
            result = await self._others.run(name, arguments, self._known) if self._others else None
        if result is None:
            raise MCPError(INVALID_PARAMS, f"unknown tool {name[:100]!r}")
        return _converted(result)


SWITCH: Final = Prompt(
    name="switch",
    description="Switch the model that serves this conversation",
    arguments=[
        PromptArgument(
            name="endpoint",
            description="A model, an instance, an alias, `local`, or `default`; empty for the list",
            required=False,
        )
    ],
)


def _announced(tool: Tool) -> McpTool:
    return McpTool(
        name=tool.name,
        description=tool.description,
        input_schema=schema_of(tool.arguments),
        annotations=ToolAnnotations(
            read_only_hint=not tool.writes, destructive_hint=False, open_world_hint=False
        ),
    )


def _announced_mounted(spec: ToolSpec) -> McpTool:
    reads = spec.effect == "read"
    return McpTool(
        name=spec.name,
        description=shortened(spec.description, MOUNTED_DESCRIPTION),
        input_schema=dict(spec.input_schema),
        annotations=ToolAnnotations(
            read_only_hint=reads, destructive_hint=not reads, open_world_hint=spec.outside
        ),
    )


def shortened(text: str, limit: int) -> str:
    """`text`, or as many whole sentences or words of it as fit."""
    if len(text) <= limit:
        return text
    start = text[:limit]
    end = start.rfind(". ") + 1
    return start[:end] if end > limit // 2 else f"{start[: start.rfind(' ')]} ..."


def _converted(result: ToolResult) -> CallToolResult:
    """A result of a mounted tool; without its data, which a client would show instead."""
    content: list[ContentBlock] = []
    for block in result.content:
        if block["type"] == "image":
            source = block["source"]
            content.append(ImageContent(data=source["data"], mime_type=source["media_type"]))
        else:
            content.append(TextContent(text=str(block["text"])))
    return CallToolResult(content=content, is_error=result.is_error)


def _result(text: str, *, failed: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=harmless(text))], is_error=failed)
