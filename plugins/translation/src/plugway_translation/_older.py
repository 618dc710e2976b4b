"""Schemas of older drafts and of other notations, in the words of JSON Schema 2020-12."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from plugway import as_list

_TYPES: Final = frozenset(
    ("array", "boolean", "integer", "null", "number", "object", "string"),
)
_LISTS: Final = ("required", "enum")
_BOUNDS: Final = (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum"))

Said = Callable[[str, str], None]
"""Takes a keyword and what was done to it."""


def of_today(schema: dict[str, Any], said: Said) -> dict[str, Any]:
    """One schema, without those in it; the same object where nothing has to change.

    `exclusiveMinimum: true` is of draft 4, `required: true` in a property of draft 3, and types in
    upper case of Gemini; a type that is none allows any value.
    """
    found = dict(schema)
    for name in _LISTS:
        if name in found and not isinstance(found[name], list):
            del found[name]
            said(name, "it is no list")
    for exclusive, bound in _BOUNDS:
        if isinstance(found.get(exclusive), bool):
            if found.pop(exclusive) and bound in found:
                found[exclusive] = found.pop(bound)
            said(exclusive, "of an older draft: told as a number")
    if "type" in found and found["type"] != (kind := _type(found["type"])):
        found |= {"type": kind}
        if not kind:
            del found["type"]
        said("type", "told in lower case, or as any where there is no such type")
    return schema if found == schema else found


def _type(told: Any) -> Any:
    """The types by their names; None where one of them is none."""
    names = as_list(told) if isinstance(told, list) else [told]
    lower = [name.lower() if isinstance(name, str) else "null" for name in names]
    if not lower or not _TYPES.issuperset(lower):
        return None
    return lower if isinstance(told, list) else lower[0]
