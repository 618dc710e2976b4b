"""Adds cache markers for clients of APIs without them. Pure functions.

Anthropic caches a prompt only up to a marker (`cache_control`), at most four, and reads the longest
cached prefix: https://platform.claude.com/docs/en/build-with-claude/prompt-caching. Thinking and
empty texts cannot be marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import blocks_of, is_blank

MARK: Final[Mapping[str, str]] = {"type": "ephemeral"}
_TURNS: Final = 2
"""User turns to mark: the last one, and the one before, which the previous request marked."""
_MOST: Final = 4
"""Maximum markers in a request."""
_UNMARKED: Final = frozenset(("thinking", "redacted_thinking"))


def with_cache_markers(request: MessagesRequest) -> MessagesRequest:
    """Mark the end of the tools, of the system prompt and of the last user turns.

    Returns the same object if the client has set markers.
    """
    body = request.body
    if _has_marks(body):
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


def limit_markers(request: MessagesRequest) -> MessagesRequest:
    """Keep at most four markers: the last one of the tools, that of the system prompt, and the
    last others ("A maximum of 4 blocks with cache_control may be provided")."""
    body = request.body
    turns = [block for turn in as_list(body.get("messages")) for block in _blocks_in(turn)]
    groups = [list(map(as_object, as_list(body.get(name)))) for name in ("tools", "system")]
    sets = [[b for b in group if "cache_control" in b] for group in (*groups, turns)]
    if sum(map(len, sets)) <= _MOST:
        return request
    firsts = [group[-1] for group in sets[:2] if group]
    others = [b for group in sets for b in group if not any(b is first for first in firsts)]
    kept = [*firsts, *others[len(firsts) - _MOST :]]
    gone = {id(b) for group in sets for b in group if not any(b is k for k in kept)}
    names = [name for name in ("tools", "system", "messages") if isinstance(body.get(name), list)]
    fields: dict[str, Any] = {name: _unmarked(as_list(body[name]), gone) for name in names}
    return request.replace(because=f"Claude's servers accept {_MOST} cache markers", **fields)


def _unmarked(items: list[Any], gone: set[int]) -> list[Any]:
    """Tools, blocks or turns without the markers of those whose `id` is in `gone`."""
    found: list[Any] = []
    for item in items:
        fields = as_object(item)
        if id(item) in gone:
            fields = {key: value for key, value in fields.items() if key != "cache_control"}
        if isinstance(fields.get("content"), list):
            fields = {**fields, "content": _unmarked(as_list(fields["content"]), gone)}
        found.append(fields or item)
    return found


def _marked(content: Any) -> list[Any] | None:
    """The blocks with a marker on the last one that may have it; None if none may."""
    blocks = list(blocks_of(content))
    for at in range(len(blocks) - 1, -1, -1):
        block = as_object(blocks[at])
        if block and block.get("type") not in _UNMARKED and not is_blank(block):
            blocks[at] = {**block, "cache_control": MARK}
            return blocks
    return None


def _has_marks(body: Mapping[str, Any]) -> bool:
    """Whether the client set a marker; a schema property of the same name does not count."""
    turns = [block for turn in as_list(body.get("messages")) for block in _blocks_in(turn)]
    places = [body, *as_list(body.get("tools")), *as_list(body.get("system")), *turns]
    return any("cache_control" in as_object(place) for place in places)


def _blocks_in(holder: Any) -> list[Any]:
    """The blocks of a turn, including those in results."""
    blocks = as_list(as_object(holder).get("content"))
    return [*blocks, *(inner for block in blocks for inner in _blocks_in(block))]
