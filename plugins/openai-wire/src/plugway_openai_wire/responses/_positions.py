"""Assigns events of the Responses API to items, whatever indexes and ids a server sends.

The API numbers items by `output_index` and names them by `item_id`. Some servers send index 0 for
all items, or none; omit ids, or send another id in the last event. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_object

ADDED: Final = "response.output_item.added"
DONE: Final = "response.output_item.done"


@dataclass(slots=True)
class _Known:
    """What is known of an item."""

    index: int | None
    id: str = ""
    call_id: str = ""
    kind: str = ""
    added: bool = False
    done: bool = False


class ItemPositions:
    """The items of one response by position: the server's index unless it is taken."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def of(self, data: Mapping[str, Any], kind: str, event: str, turn: int | None) -> int:
        """The position of the item that an event belongs to.

        `kind` is the item type implied by the event, if any; `turn` is the position of the item
        being written.
        """
        item = as_object(data.get("item"))
        id_ = _text(data.get("item_id")) or _text(item.get("id"))
        index = data.get("output_index")
        index = index if isinstance(index, int) and not isinstance(index, bool) else None
        place = self._found(index, id_, event)
        if place is None and index is None and not id_ and event != ADDED:
            place = turn
        if place is None or self._is_another(self._known.get(place), item, id_, event):
            free = index is not None and index not in self._known
            place = index if index is not None and free else max(self._known, default=-1) + 1
        known = self._known.setdefault(place, _Known(index))
        known.id = known.id or id_
        known.kind = known.kind or _text(item.get("type")) or kind
        known.call_id = known.call_id or _text(item.get("call_id"))
        known.added |= event == ADDED
        known.done |= event == DONE
        if index is not None:
            self._by_index[index] = place
        if id_:
            self._by_id[id_] = place
        return place

    def matched(self, output: Sequence[Any]) -> list[int | None]:
        """The position of each item of a complete response; None if no event belonged to it."""
        items = [as_object(item) for item in output]
        left = dict(self._known)
        places: list[int | None] = [None] * len(items)
        for same in (_same_id, _same_call, _same_kind):
            for at, item in enumerate(items):
                if places[at] is None:
                    places[at] = next((p for p, known in left.items() if same(known, item)), None)
                    left.pop(-1 if (found := places[at]) is None else found, None)
        return places

    def _found(self, index: int | None, id_: str, event: str) -> int | None:
        by_index = None if index is None else self._by_index.get(index)
        if by_index is not None and (not id_ or self._known[by_index].id in ("", id_)):
            return by_index
        by_id = self._by_id.get(id_)
        if by_id is None or event not in (ADDED, DONE):
            return by_id
        return by_id if index is None or self._known[by_id].index in (None, index) else None

    def _is_another(
        self, known: _Known | None, item: Mapping[str, Any], id_: str, event: str
    ) -> bool:
        """Whether an event starts or ends another item than the one at its position."""
        if known is None or not (known.added if event == ADDED else known.done):
            return False
        if event not in (ADDED, DONE):
            return False
        call_id = _text(item.get("call_id"))
        return not (id_ and known.id == id_ and (not call_id or known.call_id in ("", call_id)))


def _same_id(known: _Known, item: Mapping[str, Any]) -> bool:
    call_id = _text(item.get("call_id"))
    same = bool(known.id) and known.id == item.get("id")
    return same and (not call_id or known.call_id in ("", call_id))


def _same_call(known: _Known, item: Mapping[str, Any]) -> bool:
    return bool(known.call_id) and known.call_id == item.get("call_id")


def _same_kind(known: _Known, item: Mapping[str, Any]) -> bool:
    return known.kind == item.get("type")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
