"""Keeps items of recent replies in memory, so that Responses clients can refer to them by id.

The default Responses client of the AI SDK (`@ai-sdk/openai`) sends an `item_reference` for each of
its own items unless `store` is false (`openai-responses-language-model` and
`convert-to-openai-responses-input` there); so do programs that follow OpenAI's guide "Conversation
state". Shape: `ItemReference` in `types/responses/response_input_item_param.py` of the `openai`
SDK, whose `type` may be missing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

import orjson

from plugway import as_list, as_object

MOST_BYTES: Final = 4 * 2**20
"""Limit per caller in bytes of JSON: about a thousand turns of a coding agent."""
MOST_CALLERS: Final = 64
_ENTRY: Final = 400
"""Overhead of an entry in bytes."""


class ItemStore:
    """The items of one caller; the least recently used are evicted first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._items: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = Lock()  # long requests are parsed in a thread

    def keep(self, item: Mapping[str, Any]) -> None:
        """Store a finished item under its `id`, unless it is too large."""
        data = orjson.dumps(item)
        with self._lock:
            self._drop(str(item["id"]))
            self._items[str(item["id"])] = data
            self._size += len(data) + _ENTRY
            while self._size > self._most:
                self._drop(next(iter(self._items)))

    def find(self, id_: str) -> dict[str, Any] | None:
        """Return the item with this id and mark it as used."""
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


class ItemStores:
    """One store per caller, so that callers cannot read each other's items."""

    def __init__(self) -> None:
        self._stores: OrderedDict[str, ItemStore] = OrderedDict()
        self._lock = Lock()

    def of(self, caller: str) -> ItemStore:
        """The caller's store; the least recently used store is evicted above the limit."""
        with self._lock:
            store = self._stores.setdefault(caller, ItemStore())
            self._stores.move_to_end(caller)
            if len(self._stores) > MOST_CALLERS:
                self._stores.popitem(last=False)
        return store

    def take_over(self, others: ItemStores) -> None:
        """Adopt the stores of `others`, after a reload of the configuration."""
        self._stores = others._stores


def is_reference(item: Mapping[str, Any]) -> bool:
    """Whether an input item refers to a stored one."""
    kind = item.get("type")
    return kind == "item_reference" or (not kind and "id" in item and "role" not in item)


def with_items(body: Mapping[str, Any], store: ItemStore) -> dict[str, Any] | None:
    """Return `body` with references replaced by stored items; None if nothing was replaced.

    An item is inserted at its first reference: the AI SDK refers to a message once for each of its
    texts.
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
        kept = store.find(id_)
        if kept is not None:
            seen.add(id_)
        found.append(item if kept is None else kept)
    return {**body, "input": found} if seen else None
