"""Which conversation calls a tool: the tool call itself went through the gateway a moment ago.

Claude Code sends the id of the model's tool call with the MCP call (`_meta`, key
`claudecode/toolUseId`, seen with 2.1.197 and 2.1.329); an MCP request names no conversation
otherwise. So the ids of calls to our tools are noted as they are streamed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import Bounded, EventStream, MessagesRequest, StreamEvent, as_list, as_object
from plugway_endpoints import Needs

TOOL_USE_ID: Final = "claudecode/toolUseId"
MAX_CALLS: Final = 512
TOOLS: Final = (
    "endpoint_list",
    "endpoint_set",
    "endpoint_recommend",
    "model_load",
    "model_unload",
    "model_list",
    "usage_report",
    "context_report",
    "explain_last",
)
_OURS: Final = re.compile(rf"(?:.*__)?(?:{'|'.join(TOOLS)})")
"""A client puts the server's name, which the user gives, before the tool's: `mcp__plugway__…`."""
_NAMED: Final = "__endpoint_set"


@dataclass(frozen=True, slots=True)
class Caller:
    """The conversation that calls a tool, as it was when the call was streamed."""

    session: str | None
    agent: str
    """The subagent; empty for the main conversation."""
    model: str
    """The id that the client asks for."""
    target: str
    """Who serves it: `instance/model`."""
    zone: str
    needs: Needs | None = None
    """What its request needs; None where only the last exchange is known."""
    chosen: bool = False
    """A choice had routed the request, and not the configuration."""
    guessed: bool = False
    """The client did not say who calls: it is the only conversation of the last minutes."""


class Calls:
    """Callers by the ids of their tool calls; bounded, the oldest go first."""

    def __init__(self) -> None:
        self._callers: Bounded[str, Caller] = Bounded(MAX_CALLS)

    def __len__(self) -> int:
        return len(self._callers)

    def add(self, tool_use_id: str, caller: Caller) -> None:
        """Note a call."""
        self._callers[tool_use_id] = caller

    def of(self, tool_use_id: object) -> Caller | None:
        """Whose call it is."""
        return self._callers.get(tool_use_id) if isinstance(tool_use_id, str) else None


def offers_ours(request: MessagesRequest) -> bool:
    """Whether a request offers any of our tools to the model.

    Claude Code 2.1.329 defers the tools of servers: a message of the system names them all, `tools`
    holds those that the model has searched for, and a call to one that is only named is run too.
    """
    body = request.body
    for tool in as_list(body.get("tools")):
        name = as_object(tool).get("name")
        if isinstance(name, str) and name.endswith(TOOLS) and _OURS.fullmatch(name):
            return True
    return any(_NAMED in text for text in _system_texts(body))


def _system_texts(body: Mapping[str, Any]) -> Iterator[str]:
    turns = [as_object(turn) for turn in as_list(body.get("messages"))]
    for content in (body.get("system"), *(t["content"] for t in turns if _is_system(t))):
        if isinstance(content, str):
            yield content
        for block in map(as_object, as_list(content)):
            text = block.get("text")
            if isinstance(text, str):
                yield text


def _is_system(turn: Mapping[str, Any]) -> bool:
    return turn.get("role") == "system" and "content" in turn


def our_call(block: Mapping[str, Any]) -> str | None:
    """The id of a content block that calls one of our tools."""
    if block.get("type") != "tool_use" or not _OURS.fullmatch(str(block.get("name", ""))):
        return None
    id_ = block.get("id")
    return id_ if isinstance(id_, str) and len(id_) <= 200 else None


class NotedStream:
    """A stream of which the calls to our tools are noted; every event passes as it is."""

    def __init__(self, inner: EventStream, note: Callable[[Mapping[str, Any]], None]) -> None:
        self._events: AsyncIterator[StreamEvent] = aiter(inner)
        self._note = note

    def __aiter__(self) -> NotedStream:
        """The events."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        item = await anext(self._events)
        if item.type == "content_block_start":
            self._note(as_object(item.data.get("content_block")))
        return item

    async def aclose(self) -> None:
        """Nothing: the stream inside is closed by the kernel."""
