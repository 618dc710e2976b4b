"""Fingerprints of prompts: keyed hashes of their entries, without any text.

A fingerprint of a request that continues another one whose prompt was read from the cache shares
that one's entries: the server has confirmed that they are the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, overload

import orjson

from plugway import as_list, as_object
from plugway_cache_watch._body import PromptBody, Unparsed, blocks_in, kind_of, text_block, text_in
from plugway_translation import is_attribution

MOST_ENTRIES: Final = 4000
"""Longer conversations are not compared."""
_KEY: Final = secrets.token_bytes(16)
_MARK: Final = b'"cache_control"'
_TOOL_FIELDS: Final = ("name", "description", "input_schema", "parameters", "function")
SETTINGS: Final = (
    *("speed", "tool_choice", "thinking", "output_config", "output_format"),
    *("prompt_cache_key", "text", "response_format"),
)
"""Fields that change the prompt although they are not part of it, or where it is looked for."""
_INSTRUCTIONS: Final = frozenset(("system", "developer"))
_FIELDS: Final = (*SETTINGS, "cache_control")
ATTRIBUTION: Final = "attribution"
_SECONDS: Final = {"5m": 300.0, "1h": 3600.0}
_THINKING: Final = frozenset(("thinking", "redacted_thinking"))
_IMAGES: Final = frozenset(("image", "image_url", "input_image"))


class Entry(NamedTuple):
    """One message, tool or system block."""

    digest: int
    parts: tuple[int, ...]
    """Hashes of the content blocks of a message, or of the fields of a tool."""
    role: str
    """The role of a message; `ATTRIBUTION` for that entry of the system prompt."""
    size: int
    """Length of its JSON in bytes."""
    images: bool
    thinking: bool


class Mark(NamedTuple):
    """A cache mark (`cache_control`). Marks sort by their place in the prompt."""

    level: int
    """0 for a tool, 1 for the system prompt, 2 for a message."""
    at: int
    block: int
    seconds: float
    """How long the server keeps what it marks."""


class Shared:
    """Entries of messages that several fingerprints share."""

    __slots__ = ("entries", "hashes")

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.hashes = hashes_in(entries)
        """Number of hashes in them."""

    def extend(self, entries: list[Entry]) -> None:
        """Append entries."""
        self.entries += entries
        self.hashes += hashes_in(entries)


class Messages(Sequence[Entry]):
    """The entries of messages. A continuation shares those of its predecessor, so that a long
    conversation is not copied for every request."""

    __slots__ = ("_count", "shared")

    def __init__(self, shared: Shared, count: int) -> None:
        """The first `count` entries of those to which a continuation may append."""
        self.shared, self._count = shared, count

    def __len__(self) -> int:
        """Number of messages."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> list[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | list[Entry]:
        """An entry, or a list of several."""
        entries = self.shared.entries
        if isinstance(index, slice):
            return entries[: self._count][index]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return entries[index if index >= 0 else self._count + index]

    def __iter__(self) -> Iterator[Entry]:
        """The entries, without those that a continuation appended."""
        return islice(self.shared.entries, self._count)

    def __eq__(self, other: object) -> bool:
        """Whether the entries are the same."""
        return isinstance(other, Messages) and self[:] == other[:]

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def continued(self, start: int, fresh: list[Entry]) -> Messages:
        """The entries up to `start`, then `fresh`."""
        entries, count = self.shared.entries, self._count
        again = zip(fresh, entries[start:count], strict=False)
        if count == len(entries) and all(one.digest == other.digest for one, other in again):
            self.shared.extend(fresh[count - start :])
            return Messages(self.shared, len(entries))
        forked = [*entries[:start], *fresh]
        return Messages(Shared(forked), len(forked))


class Print(NamedTuple):
    """The fingerprint of a prompt."""

    tools: tuple[Entry, ...]
    system: tuple[Entry, ...]
    messages: Messages
    marks: tuple[Mark, ...]
    setting: int
    """Hash of the fields of `SETTINGS`, and of the top-level mark, together."""
    settings: tuple[int, ...]
    """Hashes of the fields of `SETTINGS`."""
    last: int
    """The byte in the list of messages at which the last one begins; 0 if that is unknown."""

    @property
    def images(self) -> bool:
        """Whether a message has an image."""
        return any(entry.images for entry in self.messages)

    @property
    def size(self) -> int:
        """Length of all entries in bytes."""
        return sum(entry.size for part in self[:3] for entry in part)

    @property
    def leading(self) -> int:
        """Number of messages at its start that are instructions, as in Chat Completions."""
        places = (at for at, one in enumerate(self.messages) if one.role not in _INSTRUCTIONS)
        return next(places, len(self.messages))

    @property
    def definitions(self) -> float:
        """The part of it, from 0 to 1, that tools and instructions are."""
        parts = (*self[:2], self.messages[: self.leading])
        return sum(entry.size for part in parts for entry in part) / (self.size or 1)

    @property
    def hashes(self) -> int:
        """Number of hashes in its entries."""
        return hashes_in(self.tools) + hashes_in(self.system) + self.messages.shared.hashes


def hashes_in(entries: Sequence[Entry]) -> int:
    """Number of hashes that entries consist of, which is what they need of memory."""
    return len(entries) + sum([len(entry.parts) for entry in entries])


def digest(data: bytes) -> int:
    """A hash with a key of this process."""
    return hash(_KEY + data)


def print_of(body: PromptBody) -> Print:
    """The fingerprint of a whole prompt."""
    marks: list[Mark] = []
    tools = tuple(_tool(tool, at, marks) for at, tool in enumerate(body.tools))
    system = tuple(_system(block, at, marks) for at, block in enumerate(body.system))
    entries = _entries(body.messages, 0, marks)
    messages = Messages(Shared(entries), len(entries))
    return _finished(tools, system, messages, marks, body, body.messages)


def continued(before: Print, body: PromptBody, unsure_bytes: int) -> Print | None:
    """The fingerprint of a prompt of which the server read all but the end of `before` from its
    cache; None if it does not continue `before`.

    Entries are hashed from those on that hold the last `unsure_bytes` of `before`.
    """
    old = before.messages
    entries, count = old.shared.entries, len(old)
    if not count:
        return None
    start = count - 1
    size = entries[start].size
    while start > 0 and size < unsure_bytes:
        start -= 1
        size += entries[start].size
    for ending in _endings(before, body, start):
        if start + len(ending) > MOST_ENTRIES:
            return None
        marks = [
            mark
            for mark in before.marks
            if mark.level < 2 or (mark.at < start and _kept(mark, body.messages))
        ]
        fresh = _entries(ending, start, marks)
        if len(fresh) >= count - start and fresh[0].digest == entries[start].digest:
            grown = old.continued(start, fresh)
            return _finished(before.tools, before.system, grown, marks, body, ending, before)
    return None


def _endings(before: Print, body: PromptBody, start: int) -> Iterator[Sequence[Any]]:
    """The messages from number `start` on. If that was the last one of `before`, they are looked
    for where it began then; a mark that earlier messages had would have moved it."""
    marked = any(mark.level == 2 and mark.at < start for mark in before.marks)
    if start == len(before.messages) - 1 and not marked:
        ending = body.since(before.last)
        if ending is not None:
            yield ending
    yield body.messages[start:]


def _finished(
    tools: tuple[Entry, ...],
    system: tuple[Entry, ...],
    messages: Messages,
    marks: list[Mark],
    body: PromptBody,
    ending: Sequence[Any],
    before: Print | None = None,
) -> Print:
    fields = body.fields(_FIELDS)
    if isinstance(automatic := fields.get("cache_control"), dict) and messages:
        marks.append(_mark(automatic, 2, len(messages) - 1, len(messages[-1].parts) - 1))
    setting = digest(_dumped(fields))
    if before is not None and before.setting == setting:
        settings = before.settings
    else:
        settings = tuple(digest(_dumped(fields.get(name))) for name in SETTINGS)
    marks.sort()
    last = ending.last if isinstance(ending, Unparsed) else 0
    return Print(tools, system, messages, tuple(marks), setting, settings, last)


def _entries(messages: Iterable[Any], start: int, marks: list[Mark]) -> list[Entry]:
    return [_message(message, start + at, marks) for at, message in enumerate(messages)]


def _kept(mark: Mark, messages: Sequence[Any]) -> bool:
    """Whether the block of an earlier mark still has one."""
    blocks = blocks_in(messages[mark.at])
    return mark.block < len(blocks) and "cache_control" in as_object(blocks[mark.block])


def _mark(value: Any, level: int, index: int, block: int = 0) -> Mark:
    ttl = as_object(value).get("ttl", "5m")
    return Mark(level, index, block, _SECONDS.get(ttl if isinstance(ttl, str) else "", 300.0))


def _tool(tool: Any, index: int, marks: list[Mark]) -> Entry:
    fields, size = as_object(tool), 0
    if mark := fields.get("cache_control"):
        marks.append(_mark(mark, 0, index))
    rest = {k: v for k, v in fields.items() if k not in _TOOL_FIELDS and k != "cache_control"}
    parts: list[int] = []
    for value in (*(fields.get(name) for name in _TOOL_FIELDS), rest):
        data = _dumped(value)
        size += len(data)
        parts.append(digest(data))
    return Entry(hash(tuple(parts)), tuple(parts), "", size, False, False)


def _system(block: Any, index: int, marks: list[Mark]) -> Entry:
    data = _plain(block, 1, index, 0, marks)
    role = ATTRIBUTION if index < 2 and is_attribution(text_in(block)) else ""
    return Entry(digest(data), (), role, len(data), False, False)


def _message(message: Any, index: int, marks: list[Mark]) -> Entry:
    fields = as_object(message)
    role = str(fields.get("role", fields.get("type")))
    role = role if role in _ROLES else ""
    parts: list[int] = []
    size, images, thinking = 0, False, False
    content = fields.get("content")
    blocks = as_list(content) if isinstance(content, list) else blocks_in(message)
    for at, block in enumerate(blocks):
        kind = kind_of(block)
        if kind == "text":
            if mark := block.get("cache_control"):
                marks.append(_mark(mark, 2, index, at))
                block = {key: value for key, value in block.items() if key != "cache_control"}
            data = _dumped(block)
        else:
            block = text_block(block) if isinstance(block, str) else block
            data = _plain(block, 2, index, at, marks)
            images = images or kind in _IMAGES or (kind == "tool_result" and has_image(block))
            thinking = thinking or kind in _THINKING
        size += len(data)
        parts.append(hash(_KEY + data))
    if len(fields) > 2 or "tool_calls" in fields:  # Chat: `tool_calls`, `tool_call_id`, `name`
        rest = {k: v for k, v in fields.items() if k not in {"role", "content", "parts"}}
        data = _dumped(rest)
        size += len(data)
        parts.append(digest(data))
    return Entry(hash((role, *parts)), tuple(parts), role, size, images, thinking)


_ROLES: Final = frozenset(
    ("user", "assistant", "system", "developer", "tool", "model", "message", "reasoning")
)


def has_image(block: Any) -> bool:
    """Whether a result contains an image."""
    parts = as_list(as_object(block).get("content"))
    return any(str(as_object(part).get("type")) in _IMAGES for part in parts)


def _plain(block: Any, level: int, index: int, at: int, marks: list[Mark]) -> bytes:
    """The JSON of a block without its marks, which are added to `marks`."""
    found: list[Any] = []
    fields = as_object(block)
    if "cache_control" in fields:
        block = _unmarked(block, found)
    data = _dumped(block)
    if isinstance(fields.get("content"), list) and _MARK in data:
        data = _dumped(_unmarked(block, found))
    if found:
        marks += [_mark(value, level, index, at) for value in found]
    return data


def _unmarked(block: Any, found: list[Any]) -> Any:
    fields: Mapping[str, Any] = as_object(block)
    if not fields:
        return block
    if isinstance(mark := fields.get("cache_control"), dict):
        found.append(mark)
        fields = {key: value for key, value in fields.items() if key != "cache_control"}
    if isinstance(content := fields.get("content"), list):
        inner: Sequence[Any] = as_list(content)
        fields = {**fields, "content": [_unmarked(part, found) for part in inner]}
    return fields


def _dumped(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a number of more than 64 bits, or half a character
        return repr(value).encode("utf-8", "surrogatepass")
