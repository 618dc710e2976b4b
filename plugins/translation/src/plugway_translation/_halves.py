"""JSON of servers that split a character in two: `\\ud83d` in one event, `\\ude00` in the next.

A server that decodes token by token escapes each half of a surrogate pair by itself; RFC 8259,
section 8.2, leaves open what such text means. Report: elizaOS/eliza#30904.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from plugway import as_list, as_object

_ESCAPED: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_RAW: Final = re.compile(rb"\xed[\xa0-\xbf]")
_IDS: Final = ("index", "output_index", "content_index", "summary_index", "item_id", "thought")
"""Members that say which text a piece belongs to; of an event also its `type`."""
_LAST: Final = (".completed", ".incomplete", ".failed", ".cancelled", "response.done")
"""How types of events end that end an answer of the Responses API."""
_MOST: Final = 1000
"""Texts that may wait for the second half of a character."""

_Steps = tuple[tuple[str, Any], ...]
"""What leads to a text: the name of each member, and what it is in (None for a list)."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The first half of a character, and an event that says only that it stayed alone."""

    half: str
    alone: dict[str, Any]


class Halves:
    """Puts characters together that are split over events.

    The first half is taken out of its event, and goes before the next piece of the same text,
    whatever comes in between. What ends the text lets U+FFFD be told in its place.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[Any, _Waiting] = {}

    @property
    def waiting(self) -> bool:
        """A first half has come, and not yet what follows it."""
        return bool(self._waiting)

    def feed(self, payload: bytes) -> list[Any]:
        """The values of an event, and of those that it lets be told. Raises
        `orjson.JSONDecodeError`."""
        try:
            value = orjson.loads(payload)
        except orjson.JSONDecodeError:
            value = _with_halves(payload)
        else:
            if not self._waiting:
                return [value]
        return self._joined(value)

    def flush(self) -> list[Any]:
        """An event with U+FFFD for each half that waits, where nothing follows it."""
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
    """The value in a whole body; half a character becomes U+FFFD. Raises as `Halves.feed`."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = _with_halves(payload)
        for _, holder, key, text in list(_texts(value, ())):
            holder[key] = _whole(text)
        return value


def may_have_halves(payload: bytes) -> bool:
    """Whether half a character may stand in JSON bytes, by a quick look."""
    # One byte is found far quicker than two, or than a pattern.
    if b"\\" in payload and _ESCAPED.search(payload) is not None:
        return True
    return b"\xed" in payload and _RAW.search(payload) is not None


def _with_halves(payload: bytes) -> Any:
    if not may_have_halves(payload):
        return orjson.loads(payload)
    try:
        return json.loads(payload, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        return orjson.loads(payload)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_whole(name): value for name, value in pairs}


def _texts(value: Any, steps: _Steps) -> Iterator[tuple[_Steps, Any, Any, str]]:
    """The texts in a value, each with what leads to it, what holds it, and its key there."""
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
    """Whether a text is a piece of one that may go on in the next event."""
    names = [name for name, _ in steps]
    return "delta" in names or (names[-1] == "text" and "parts" in names)


def _name(steps: _Steps) -> Any:
    """Equal for all pieces of one text: where a list has it does not count, but what it says."""
    ids = [
        (name, *(str(holder.get(each)) for each in (_IDS if at else ("type", *_IDS))))
        for at, (name, holder) in enumerate(steps)
        if holder is not None
    ]
    return tuple(ids)


def _alone(steps: _Steps) -> dict[str, Any]:
    """An event that says U+FFFD as the next piece of a text, and nothing else."""
    found: Any = "\ufffd"
    for name, holder in reversed(steps):
        if holder is None:
            found = [found]
        else:
            kept = {each: holder[each] for each in ("type", *_IDS) if each in holder}
            found = {**kept, name: found}
    return as_object(found)


def _ends(value: Any, piece: Mapping[str, Any]) -> bool:
    """Whether an event ends the text that `piece`, another event, has a piece of."""
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
    """The text with its halves put together, and U+FFFD for each that stands alone."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_high(sign: str) -> bool:
    return "\ud800" <= sign <= "\udbff"
