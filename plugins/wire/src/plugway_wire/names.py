"""Names of models in lists from servers, which may contain anything."""

from __future__ import annotations

from typing import Any, Final

from plugway_wire.json import as_list, as_object

MAX_MODELS: Final = 1000
"""Most models of one backend; the rest of its list is ignored."""
MAX_NAME: Final = 256
"""Length of the longest model name."""
_MARKUP: Final = frozenset("<>\"'`\\")


def is_model_name(value: object) -> bool:
    """Whether `value` is a valid model name: printable text of at most 256 characters, without
    surrounding white space, quotes, backslashes and `<` or `>`."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_NAME
        and value.isprintable()
        and value == value.strip()
        and _MARKUP.isdisjoint(value)
    )


def named_entries(entries: Any, key: str = "id") -> list[dict[str, Any]]:
    """The objects of a list with a model name in `key`: each name once, at most 1,000; empty if
    `entries` is not a list."""
    found: dict[str, dict[str, Any]] = {}
    for item in as_list(entries):
        entry = as_object(item)
        if is_model_name(name := entry.get(key)):
            found.setdefault(str(name), entry)
        if len(found) == MAX_MODELS:
            break
    return list(found.values())
