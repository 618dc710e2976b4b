"""Marks for caching where a client has no word for them. Pure functions.

Anthropic caches a prompt only up to a mark (`cache_control`), four of them at most, and reads the
longest cached beginning: https://platform.claude.com/docs/en/build-with-claude/prompt-caching. No
mark may stand on thinking or on an empty text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import blocks_of, is_blank

MARK: Final[Mapping[str, str]] = {"type": "ephemeral"}
_TURNS: Final = 2
"""User turns that are marked: the last one, and the one before, which the last request marked."""
_UNMARKED: Final = frozenset(("thinking", "redacted_thinking"))


def marked(request: MessagesRequest) -> MessagesRequest:
    """The request with marks after its tools, its system prompt and its last user turns; the same
    object where the client has set marks of its own."""
    body = request.body
    if b'"cache_control"' in request.raw and _has_marks(body):
        return request
    fields: dict[str, Any] = {}
    tools, system = as_list(body.get("tools")), body.get("system")
    if tools:
        fields["tools"] = [*tools[:-1], {**as_object(tools[-1]), "cache_control": MARK}]
    if (blocks := _marked(system)) is not None:
        fields["system"] = blocks
    messages = list(as_list(body.get("messages")))
    users = [at for at, turn in enumerate(messages) if as_object(turn).get("role") == "user"]
    for at in users[-_TURNS:]:
        turn = as_object(messages[at])
        if (blocks := _marked(turn.get("content"))) is not None:
            fields["messages"] = messages
            messages[at] = {**turn, "content": blocks}
    return request.replace(because="so that Claude's servers cache the prompt", **fields)


def _marked(content: Any) -> list[Any] | None:
    """The blocks with a mark on the last that may have one; None where none may."""
    blocks = list(blocks_of(content))
    for at in range(len(blocks) - 1, -1, -1):
        block = as_object(blocks[at])
        if block and block.get("type") not in _UNMARKED and not is_blank(block):
            blocks[at] = {**block, "cache_control": MARK}
            return blocks
    return None


def _has_marks(body: Mapping[str, Any]) -> bool:
    """Whether a mark stands where marks may: a property of a schema may have the same name."""
    turns = [block for turn in as_list(body.get("messages")) for block in _blocks_in(turn)]
    places = [body, *as_list(body.get("tools")), *as_list(body.get("system")), *turns]
    return any("cache_control" in as_object(place) for place in places)


def _blocks_in(holder: Any) -> list[Any]:
    """The blocks of a turn, with those in results."""
    blocks = as_list(as_object(holder).get("content"))
    return [*blocks, *(inner for block in blocks for inner in _blocks_in(block))]
