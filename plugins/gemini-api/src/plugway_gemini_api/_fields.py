"""Reads fields of a request and reports invalid or unknown ones. Pure functions.

The API uses protobuf's JSON: `camelCase` and `snake_case` are equivalent, a single value is a list
of one, and numbers may be strings (https://protobuf.dev/programming-guides/json).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from plugway import InvalidRequest, as_list, as_object
from plugway_translation import Notes

_UNDERSCORE: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_NUMBER: Final = re.compile(r"-?[0-9]{1,10}")
MAX_INTEGER: Final = 2**31 - 1


def camel(name: str) -> str:
    """Convert `snake_case` to `camelCase`."""
    return _UNDERSCORE.sub(lambda m: m[1].upper(), name) if "_" in name else name


def named(value: Any) -> dict[str, Any]:
    """An object with its fields in `camelCase`, without nulls; empty for any other value."""
    return {camel(k): v for k, v in as_object(value).items() if v is not None}


def invalid(path: str, what: str) -> InvalidRequest:
    """A 400 that a retry does not fix; `what` quotes nothing of the request."""
    return InvalidRequest(f"Invalid value at '{path}': {what}.", retry=False, record=True)


def text(holder: Mapping[str, Any], key: str, path: str) -> str:
    """A string; empty if missing. Raises `InvalidRequest`."""
    value = holder.get(key, "")
    if not isinstance(value, str):
        raise invalid(f"{path}.{key}", "expected a string")
    return value


def object_at(holder: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    """An object with its fields in `camelCase`; empty if missing. Raises `InvalidRequest`."""
    value = holder.get(key, {})
    if not isinstance(value, dict):
        raise invalid(f"{path}.{key}".lstrip("."), "expected an object")
    return named(value)


def repeated(holder: Mapping[str, Any], key: str) -> list[Any]:
    """The values of a list; a single value is a list of one."""
    value = holder.get(key)
    if value is None:
        return []
    return as_list(value) if isinstance(value, list) else [value]


def objects(holder: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    """A list of objects with their fields in `camelCase`. Raises `InvalidRequest`."""
    found = repeated(holder, key)
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise invalid(f"{path}[{index}]", "expected an object")
    return [named(item) for item in found]


def texts(holder: Mapping[str, Any], key: str, path: str) -> list[str]:
    """A list of strings. Raises `InvalidRequest`."""
    found = repeated(holder, key)
    if not all(isinstance(item, str) for item in found):
        raise invalid(f"{path}.{key}", "expected strings")
    return found


def number(holder: Mapping[str, Any], key: str, path: str, low: float, high: float) -> float | None:
    """A number from `low` to `high`; None if missing. Raises `InvalidRequest`."""
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"{path}.{key}", "expected a number")
    if not low <= value <= high:
        raise invalid(f"{path}.{key}", f"expected a value from {low:g} to {high:g}")
    return value


def integer(holder: Mapping[str, Any], key: str, path: str, low: int = 0) -> int | None:
    """An integer of at least `low`; None if missing. Raises `InvalidRequest`."""
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise invalid(f"{path}.{key}", "expected an integer")
    if not low <= value <= MAX_INTEGER:
        raise invalid(f"{path}.{key}", f"expected a value from {low} to {MAX_INTEGER}")
    return int(value)


def unknown(holder: Mapping[str, Any], known: Collection[str], at: str, notes: Notes) -> None:
    """Note the unknown fields."""
    for name in holder.keys() - set(known):
        notes.add(f"{at}.{name[:64]}", "drop", "unknown field")


def word(holder: Mapping[str, Any], key: str, path: str) -> str:
    """An enum value in upper case; empty if missing or unspecified.

    Raises `InvalidRequest`.
    """
    found = text(holder, key, path).upper()
    return "" if found.endswith("_UNSPECIFIED") else found
