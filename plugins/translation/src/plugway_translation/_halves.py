"""JSON of servers that split a character in two: `\\ud83d` in one event, `\\ude00` in the next.

A server that decodes token by token escapes each half of a surrogate pair by itself; RFC 8259,
section 8.2, leaves open what such text means. Report: elizaOS/eliza#30904.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast

import orjson

from plugway import as_object

_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_IDS: Final = ("index", "output_index", "content_index", "item_id")
"""Members that say which text a piece belongs to; of an event also its `type`."""


class Halves:
    """Puts characters together that are split over events. An event that ends in a half waits."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: Any = None

    def feed(self, payload: bytes) -> list[Any]:
        """The values of the events that are ready. Raises `orjson.JSONDecodeError`."""
        try:
            found = orjson.loads(payload)
        except orjson.JSONDecodeError:
            value = _with_halves(payload)
        else:
            return [*self.flush(), found]
        before = self._waiting
        if before is not None:
            _join(before, value)
        ready = self.flush()
        if any(_is_high(text[-1:]) for _, _, _, text in _texts(value, ())):
            self._waiting = value
            return ready
        return [*ready, _clean(value)]

    def flush(self) -> list[Any]:
        """The event that waits, where nothing follows it; its half becomes U+FFFD."""
        value, self._waiting = self._waiting, None
        return [] if value is None else [_clean(value)]


def read_json(payload: bytes) -> Any:
    """The value in a whole body; half a character becomes U+FFFD. Raises as `Halves.feed`."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _clean(_with_halves(payload))


def _with_halves(payload: bytes) -> Any:
    if _HALF.search(payload) is None:
        return orjson.loads(payload)
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return orjson.loads(payload)


def _texts(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any, Any, str]]:
    """The texts in a value, each with its path, what holds it, and its key there."""
    if isinstance(value, dict):
        members = as_object(value)
        named = _IDS if path else ("type", *_IDS)
        ids = tuple(str(members.get(name)) for name in named)
        items: list[tuple[Any, Any]] = list(members.items())
    elif isinstance(value, list):
        ids, items = (), list(enumerate(cast("list[Any]", value)))
    else:
        return
    for key, item in items:
        if isinstance(item, str):
            yield (*path, ids, key), cast("Any", value), key, item
        else:
            yield from _texts(item, (*path, ids, key))


def _join(before: Any, value: Any) -> None:
    """Gives the first half of a character in `before` the second one in `value`."""
    seconds = {path: (holder, key, text) for path, holder, key, text in _texts(value, ())}
    for path, holder, key, text in list(_texts(before, ())):
        found = seconds.get(path)
        if found is not None and _is_high(text[-1:]) and _is_low(found[2][:1]):
            holder[key] = text + found[2][:1]
            found[0][found[1]] = found[2][1:]


def _clean(value: Any) -> Any:
    for _, holder, key, text in list(_texts(value, ())):
        if not text.isascii():
            halves = text.encode("utf-16-le", "surrogatepass")
            holder[key] = halves.decode("utf-16-le", "replace")
    return value


def _is_high(sign: str) -> bool:
    return "\ud800" <= sign <= "\udbff"


def _is_low(sign: str) -> bool:
    return "\udc00" <= sign <= "\udfff"
