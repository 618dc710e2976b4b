"""Builds a stand-in request for a conversation that only a server of the client's API understands.

Servers extend OpenAI's APIs, so a turn or a tool may be unknown here. Such a request is relayed
unchanged or not at all. Plugins that inspect it (for a command in the last turn, or a rule for the
kind of request) see the turns and tools that can be read.
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


def turns_of(value: Any, turns: Turns, read: Callable[[dict[str, Any], str], None]) -> list[Block]:
    """Return the messages for `value`, a text or an array of messages or items; never empty.

    `read` adds one of them to `turns`. If it raises `InvalidRequest`, texts and calls are kept and
    other parts become placeholders. Thinking is omitted.
    """
    rough = _Rough(turns)
    if isinstance(value, str):
        turns.user(value)
    for item in map(as_object, as_list(value)):
        try:
            read(item, "")
        except InvalidRequest:
            rough.read(item)
    messages: list[Block] = []
    for message in turns.messages:
        blocks = [b for b in as_list(message["content"]) if b.get("type") not in _THINKING]
        if isinstance(message["content"], str) or blocks:
            messages.append({**message, "content": blocks or message["content"]})
    return messages or [{"role": "user", "content": _placeholder("unknown")}]


def tools_of(body: Mapping[str, Any], field: str, read: ToolReader) -> list[Block]:
    """Return the offered tools, one per name; an unreadable tool has only its name."""
    alone = [{"tools": [tool]} for tool in as_list(body.get("tools"))]
    found: dict[str, Block] = {}
    for one in (*alone, *({field: [item]} for item in as_list(body.get(field)))):
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
    """A tool with its own name is run by the client, and so has a schema."""
    inner = as_object(tool.get("function")) or as_object(tool.get("custom")) or tool
    name = inner.get("name")
    if isinstance(name, str) and name:
        return {"name": name, "input_schema": {"type": "object"}}
    kind = type_name(tool.get("type"))
    return {"type": kind, "name": kind}


class _Rough:
    """Reads messages and items that the strict reader rejects."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._parts = Parts(Notes())

    def read(self, item: Mapping[str, Any]) -> None:
        """Read a Chat message or a Responses item of any shape."""
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
                block = {"type": "text", "text": _placeholder(part.get("type"))}
            if block:
                yield block


def _placeholder(kind: object) -> str:
    """Text for an unreadable part, as a reminder, so that it does not count as user input."""
    return reminder(f"[{type_name(kind)}: only the server can read it]")


def _call(call: Mapping[str, Any]) -> Block:
    inner = as_object(call.get("function")) or as_object(call.get("custom")) or call
    return {"type": "tool_use", "id": _id(call), "name": str(inner.get("name")), "input": {}}


def _id(item: Mapping[str, Any]) -> str:
    found = item.get("call_id") or item.get("tool_call_id") or item.get("id")
    return encode_id(found if isinstance(found, str) else "unknown")
