"""What stands for a conversation that only a server of the client's own API understands.

Servers add to OpenAI's APIs, so that a turn or a tool may be one that nobody here knows. Such a
request is sent on as it came or not at all; whatever looks at it on the way (a command in the last
turn, a rule for the kind of request) sees its turns and tools, as far as they can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from plugway import InvalidRequest, as_list, as_object
from plugway_openai_api._content import Parts
from plugway_openai_api._tools import Tool
from plugway_openai_api._turns import Turns
from plugway_translation import Notes, encode_id, reminder, type_name

Block = dict[str, Any]
ToolReader = Callable[[Mapping[str, Any], Notes], list[Tool]]

_THINKING: Final = ("thinking", "redacted_thinking")


def turns_of(said: Any, turns: Turns, read: Callable[[dict[str, Any], str], None]) -> list[Block]:
    """The messages for `said`, a text or an array of messages or items; never empty.

    `read` adds one of them to `turns`, or raises `InvalidRequest`: then its texts and calls are
    taken, and a word for each part that is neither. Thinking is left out.
    """
    rough = _Rough(turns)
    if isinstance(said, str):
        turns.user(said)
    for item in map(as_object, as_list(said)):
        try:
            read(item, "")
        except InvalidRequest:
            rough.read(item)
    messages: list[Block] = []
    for message in turns.messages:
        blocks = [b for b in as_list(message["content"]) if b.get("type") not in _THINKING]
        if isinstance(message["content"], str) or blocks:
            messages.append({**message, "content": blocks or message["content"]})
    return messages or [{"role": "user", "content": _told("unknown")}]


def tools_of(body: Mapping[str, Any], said: str, read: ToolReader) -> list[Block]:
    """The tools that a request offers, by name; one that cannot be read has no more than that."""
    alone = [{"tools": [tool]} for tool in as_list(body.get("tools"))]
    found: dict[str, Block] = {}
    for one in (*alone, *({said: [item]} for item in as_list(body.get(said)))):
        try:
            blocks = [tool.block() for tool in read(one, Notes())]
        except InvalidRequest:
            blocks = [_named(as_object(tool)) for tool in one.get("tools", ())]
        found.update((block["name"], block) for block in blocks)
    for function in map(as_object, as_list(body.get("functions"))):
        block = _named({"function": function})
        found.setdefault(block["name"], block)
    return list(found.values())


def _named(tool: Mapping[str, Any]) -> Block:
    """A tool with a name of its own is one that the client runs, and so has a schema."""
    inner = as_object(tool.get("function")) or as_object(tool.get("custom")) or tool
    name = inner.get("name")
    if isinstance(name, str) and name:
        return {"name": name, "input_schema": {"type": "object"}}
    kind = type_name(tool.get("type"))
    return {"type": kind, "name": kind}


class _Rough:
    """Reads what a strict reader refuses."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._parts = Parts(Notes())

    def read(self, item: Mapping[str, Any]) -> None:
        """A message of Chat Completions, or an item of Responses, of any shape."""
        role, kind = item.get("role"), str(item.get("type"))
        if role in ("tool", "function") or kind.endswith("_output"):
            content = item.get("output") if role is None else item.get("content")
            self._turns.result(_id(item), list(self._blocks(content)))
        elif role == "assistant":
            calls = map(as_object, as_list(item.get("tool_calls")))
            blocks = list(self._blocks(item.get("content")))
            self._turns.assistant([*blocks, *map(_call, calls)])
        elif role == "user":
            self._turns.user(list(self._blocks(item.get("content"))))
        elif kind.endswith("_call"):
            self._turns.assistant([_call(item)], join=True)
        else:
            blocks = self._blocks(item.get("content"))
            self._turns.instruct([block for block in blocks if block["type"] == "text"])

    def _blocks(self, content: Any) -> Iterator[Block]:
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        elif content is not None and not isinstance(content, list):
            content = [content]
        for part in map(as_object, as_list(content)):
            try:
                block = self._parts.block(part, "")
            except InvalidRequest:
                block = {"type": "text", "text": _told(part.get("type"))}
            if block:
                yield block


def _told(kind: object) -> str:
    """The word for a part that cannot be read. As a reminder it is nothing that a user typed."""
    return reminder(f"[{type_name(kind)}: only the server can read it]")


def _call(call: Mapping[str, Any]) -> Block:
    inner = as_object(call.get("function")) or as_object(call.get("custom")) or call
    return {"type": "tool_use", "id": _id(call), "name": str(inner.get("name")), "input": {}}


def _id(item: Mapping[str, Any]) -> str:
    found = item.get("call_id") or item.get("tool_call_id") or item.get("id")
    return encode_id(found if isinstance(found, str) else "unknown")
