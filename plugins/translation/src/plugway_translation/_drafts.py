"""Converts schemas of older drafts and dialects to JSON Schema 2020-12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from plugway import as_list

_TYPES: Final = frozenset(
    ("array", "boolean", "integer", "null", "number", "object", "string"),
)
_LISTS: Final = ("required", "enum")
_BOUNDS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))

AddNote = Callable[[str, str], None]
"""Takes a keyword and what was changed."""


def to_2020_12(schema: dict[str, Any], add_note: AddNote) -> dict[str, Any]:
    """Convert one schema, without its subschemas; returns the same object if nothing changes.

    `exclusiveMinimum: true` is draft 4, `required: true` in a property draft 3, and upper-case
    types are Gemini's; an unknown type allows any value.
    """
    found = dict(schema)
    for name in _LISTS:
        if name in found and not isinstance(found[name], list):
            del found[name]
            add_note(name, "it is not a list")
    for exclusive, bound in _BOUNDS:
        if isinstance(found.get(exclusive), bool):
            if found.pop(exclusive) and bound in found:
                found[exclusive] = found.pop(bound)
            add_note(exclusive, "older draft syntax, converted to a number")
    if "type" in found and found["type"] != (kind := _type(found["type"])):
        found |= {"type": kind}
        if not kind:
            del found["type"]
        add_note("type", "lower-cased; an unknown type allows any value")
    return schema if found == schema else found


def _type(value: Any) -> Any:
    """The types in lower case; None if one is unknown."""
    names = as_list(value) if isinstance(value, list) else [value]
    lower = [name.lower() if isinstance(name, str) else "null" for name in names]
    if not lower or not _TYPES.issuperset(lower):
        return None
    return lower if isinstance(value, list) else lower[0]
