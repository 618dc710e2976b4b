"""What clients of Responses refer to instead of sending it: items of the last answers, in memory.

The default Responses client of the AI SDK (`@ai-sdk/openai`) sends an `item_reference` for each of
its own items unless `store` is false (`openai-responses-language-model` and
`convert-to-openai-responses-input` there); so do programs that follow OpenAI's guide
"Conversation state". Shape: `ItemReference` in `types/responses/response_input_item_param.py` of
the `openai` SDK, whose `type` may be missing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

import orjson

from plugway import as_list, as_object

MOST_BYTES: Final = 4 * 2**20
"""Kept for one caller, in bytes of JSON: about a thousand turns of a coding agent."""
MOST_CALLERS: Final = 64
_ENTRY: Final = 400
"""Bytes that an entry takes beside its JSON."""


class Shelf:
    """The items of one caller; what was used longest ago goes first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._items: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()  # long requests are read in a thread

    def keep(self, item: Mapping[str, Any]) -> None:
        """Remember a finished item under its `id`; one that is too large is not kept."""
        data = orjson.dumps(item)
        with self._lock:
            self._drop(str(item["id"]))
            self._items[str(item["id"])] = data
            self._size += len(data) + _ENTRY
            while self._size > self._most:
                self._drop(next(iter(self._items)))

    def find(self, id_: str) -> dict[str, Any] | None:
        """The item of that id, which then counts as used."""
        with self._lock:
            data = self._items.get(id_)
            if data is None:
                return None
            self._items.move_to_end(id_)
        return as_object(orjson.loads(data))

    def _drop(self, id_: str) -> None:
        data = self._items.pop(id_, None)
        if data is not None:
            self._size -= len(data) + _ENTRY


class Shelves:
    """One shelf per caller: nobody is given what another was told."""

    def __init__(self) -> None:
        self._shelves: OrderedDict[str, Shelf] = OrderedDict()
        self._lock = Lock()

    def of(self, caller: str) -> Shelf:
        """The shelf of a caller; of too many the one that was used longest ago is cleared away."""
        with self._lock:
            shelf = self._shelves.setdefault(caller, Shelf())
            self._shelves.move_to_end(caller)
            if len(self._shelves) > MOST_CALLERS:
                self._shelves.popitem(last=False)
        return shelf

    def take_over(self, others: Shelves) -> None:
        """Have what `others` have: after a reload of the configuration."""
        self._shelves = others._shelves


def is_reference(item: Mapping[str, Any]) -> bool:
    """Whether an input item stands for one that a server is to have kept."""
    kind = item.get("type")
    return kind == "item_reference" or (not kind and "id" in item and "role" not in item)


def with_items(body: Mapping[str, Any], shelf: Shelf) -> dict[str, Any] | None:
    """`body` with the items in the place of the references to them; None where it refers to none
    that is kept.

    An item stands where it is referred to first: the AI SDK refers to a message once for each of
    its texts.
    """
    found: list[Any] = []
    seen: set[str] = set()
    for item in as_list(body.get("input")):
        fields = as_object(item)
        id_ = fields.get("id")
        if not is_reference(fields) or not isinstance(id_, str):
            found.append(item)
            continue
        if id_ in seen:
            continue
        kept = shelf.find(id_)
        if kept is not None:
            seen.add(id_)
        found.append(item if kept is None else kept)
    return {**body, "input": found} if seen else None
