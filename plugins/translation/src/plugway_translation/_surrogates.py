"""Joins surrogate pairs that servers split over events: `\\ud83d` in one, `\\ude00` in the next.

A server that decodes token by token escapes each half of a pair separately; RFC 8259, section 8.2,
does not define the meaning of such text. Report: elizaOS/eliza#30904.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from plugway import BackendProtocolError, as_list, as_object
from plugway_wire.bounds import MAX_ANSWER_DEPTH
from plugway_wire.json import opens_more

_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_RAW: Final = re.compile(rb"\xed[\xa0-\xbf]")
_IDS: Final = ("index", "output_index", "content_index", "summary_index", "item_id", "thought")
"""Fields that identify the text a piece belongs to; for an event also its `type`."""
_LAST: Final = (".completed", ".incomplete", ".failed", ".cancelled", "response.done")
"""Type suffixes of the events that end a Responses API reply."""
_MOST: Final = 1000
"""Limit of texts that wait for the second half of a character."""

_Steps = tuple[tuple[str, Any], ...]
"""The path to a text: the name of each field and the object that holds it (None for a list)."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The first half of a pair, and an event to send if the second half never arrives."""

    half: str
    alone: dict[str, Any]


class SurrogateJoiner:
    """Joins surrogate pairs that are split over events.

    The first half is removed from its event and prepended to the next piece of the same text, even
    if other events come in between. If the text ends first, an event with U+FFFD replaces it.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Any, _Waiting] = {}

    @property
    def waiting(self) -> bool:
        """Whether a first half waits for its second half."""
        return bool(self._waiting)

    def feed(self, payload: bytes) -> list[Any]:
        """Return the values of an event, preceded by events for halves whose text has ended.

        Raises `orjson.JSONDecodeError`.
        """
        try:
            value = orjson.loads(payload)
        except orjson.JSONDecodeError:
            value = _with_halves(payload)
        else:
            if not self._waiting:
                return [value]
        return self._joined(value)

    def flush(self) -> list[Any]:
        """Return an event with U+FFFD for each half that still waits, at the end of the stream."""
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return [one.alone for one in waiting]

    def _joined(self, value: Any) -> list[Any]:
        before, self._waiting = self._waiting, {}
        for steps, holder, key, text in list(_texts(value, ())):
            if text and _is_piece(steps):
                name = _name(steps)
                first = self._waiting.pop(name, None) or before.pop(name, None)
                text = first.half + text if first else text
                if _is_high(text[-1]) and not _ends(value, as_object(value)):
                    self._waiting[name] = _Waiting(text[-1], _alone(steps))
                    text = text[:-1]
            holder[key] = _whole(text)
        ready: list[Any] = []
        for name, one in before.items():
            if len(before) > _MOST or _ends(value, one.alone):
                ready.append(one.alone)
            else:
                self._waiting[name] = one
        return [*ready, value]


def read_json(payload: bytes) -> Any:
    """Parse a complete body; unpaired halves become U+FFFD. Raises like `feed`."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = _with_halves(payload)
        for _, holder, key, text in list(_texts(value, ())):
            holder[key] = _whole(text)
        return value


def may_have_surrogates(payload: bytes) -> bool:
    """Whether JSON bytes may contain half a pair; a fast check."""
    # Searching one byte is much faster than searching two, or a pattern.
    if b"\\" in payload and _ESCAPED.search(payload) is not None:
        return True
    return b"\xed" in payload and _RAW.search(payload) is not None


def _with_halves(payload: bytes) -> Any:
    if not may_have_surrogates(payload):
        return orjson.loads(payload)
    try:
        value = json.loads(payload, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return orjson.loads(payload)
    if opens_more(payload, MAX_ANSWER_DEPTH) and _is_deep(value):
        raise BackendProtocolError(f"the response is nested more than {MAX_ANSWER_DEPTH} levels")
    return value


def _is_deep(value: Any) -> bool:
    """The same as in `plugway_wire.bounds`, whose parser does not read half a pair."""
    level: list[Any] = [value]
    for _ in range(MAX_ANSWER_DEPTH):
        inner = [item for one in level for item in (as_object(one).values() or as_list(one))]
        level = [item for item in inner if isinstance(item, dict | list)]
    return bool(level)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_whole(name): value for name, value in pairs}


def _texts(value: Any, steps: _Steps) -> Iterator[tuple[_Steps, Any, Any, str]]:
    """Yield each text in a value with its path, its container, and its key there."""
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(as_object(cast("Any", value)).items())
    elif isinstance(value, list):
        items = list(enumerate(as_list(cast("Any", value))))
    else:
        return
    holder = cast("Any", value)
    for key, item in items:
        step = (key, holder) if isinstance(key, str) else ("", None)
        if isinstance(item, str):
            yield (*steps, step), holder, key, item
        else:
            yield from _texts(item, (*steps, step))


def _is_piece(steps: _Steps) -> bool:
    """Whether a text is a piece that may continue in the next event."""
    names = [name for name, _ in steps]
    return "delta" in names or (names[-1] == "text" and "parts" in names)


def _name(steps: _Steps) -> Any:
    """A key that is equal for all pieces of one text; list positions do not count, ids do."""
    ids = [
        (name, *(str(holder.get(each)) for each in (_IDS if at else ("type", *_IDS))))
        for at, (name, holder) in enumerate(steps)
        if holder is not None
    ]
    return tuple(ids)


def _alone(steps: _Steps) -> dict[str, Any]:
    """An event whose only content is U+FFFD as the next piece of a text."""
    found: Any = "\ufffd"
    for name, holder in reversed(steps):
        if holder is None:
            found = [found]
        else:
            kept = {each: holder[each] for each in ("type", *_IDS) if each in holder}
            found = {**kept, name: found}
    return as_object(found)


def _ends(value: Any, piece: Mapping[str, Any]) -> bool:
    """Whether an event ends the text to which the event `piece` belongs."""
    event = as_object(value)
    for choice in (*as_list(event.get("choices")), *as_list(event.get("candidates"))):
        fields = as_object(choice)
        if fields.get("index") in (0, None) and (
            fields.get("finish_reason") or fields.get("finishReason")
        ):
            return True
    kind = str(event.get("type"))
    if kind.endswith(_LAST) or kind in ("message_delta", "message_stop"):
        return True
    if kind != "content_block_stop" and not kind.endswith(".done"):
        return False
    both = [name for name in _IDS if name in event and name in piece]
    return all(event[name] == piece[name] for name in both)


def _whole(text: str) -> str:
    """Join the pairs in a text; unpaired halves become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_high(sign: str) -> bool:
    return "\ud800" <= sign <= "\udbff"
