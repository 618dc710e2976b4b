"""Reads fields of a request and reports invalid ones in OpenAI's wording. Pure functions.

The wordings are those of OpenAI's servers; `_errors` derives `code` and `param` from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import InvalidRequest, as_list, as_object

MAX_INTEGER = 2**31 - 1


def invalid(message: str, *, record: bool = False) -> InvalidRequest:
    """A 400 that a retry does not fix; `record`: the message quotes nothing of the request."""
    return InvalidRequest(message, retry=False, record=record)


def missing(path: str) -> InvalidRequest:
    """The error for a missing required field."""
    return invalid(f"Missing required parameter: '{path}'.", record=True)


def wrong_type(path: str, expected: str, value: Any) -> InvalidRequest:
    """The error for a field of the wrong type; `expected` is e.g. `a string`."""
    message = f"Invalid type for '{path}': expected {expected}, but got {kind(value)} instead."
    return invalid(message, record=True)


def wrong_value(path: str, value: Any, supported: str) -> InvalidRequest:
    """The error for a value that is not among those in `supported`."""
    shown = str(value)[:80]
    return invalid(f"Invalid value for '{path}': '{shown}'. Supported values are: {supported}.")


def unsupported(path: str, because: str) -> InvalidRequest:
    """The error for an unsupported field."""
    return invalid(f"Unsupported parameter: '{path}' is not supported with this model: {because}.")


def kind(value: Any) -> str:
    """The JSON type of a value, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def text(holder: Mapping[str, Any], key: str, path: str) -> str:
    """A required string."""
    value = holder.get(key)
    if value is None:
        raise missing(path)
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    return value


def model_of(body: Mapping[str, Any]) -> str:
    """The requested model; an empty name counts as missing."""
    found = text(body, "model", "model")
    if not found.strip():
        raise missing("model")
    return found


def optional_text(holder: Mapping[str, Any], key: str, path: str) -> str:
    """A string; empty if missing or null."""
    return "" if holder.get(key) is None else text(holder, key, path)


def optional_object(holder: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    """An object; empty if missing or null."""
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return as_object(value)


def objects(holder: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    """An array of objects; empty if missing or null."""
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(path, "an array of objects", value)
    found = as_list(value)
    for index, item in enumerate(found):
        if not isinstance(item, dict):
            raise wrong_type(f"{path}[{index}]", "an object", item)
    return found


def number(holder: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    """A number from `low` to `high`; None if missing or null."""
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(key, "a decimal", value)
    if not low <= value <= high:
        raise invalid(f"Invalid '{key}': expected a value from {low:g} to {high:g}, got {value}.")
    return value


def integer(holder: Mapping[str, Any], key: str, low: int = 1) -> int | None:
    """An integer of at least `low`; None if missing or null."""
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(key, "an integer", value)
    if not low <= value <= MAX_INTEGER:
        raise invalid(
            f"Invalid '{key}': expected a value from {low} to {MAX_INTEGER}, got {value}."
        )
    return value


def check_stream_options(body: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` for `stream_options` without a stream (`ChatCompletionStreamOptions`
    in the API reference: "Only set this when you set `stream: true`")."""
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise invalid(
            "Invalid value for 'stream_options': it is only allowed when 'stream' is true."
        )


def boolean(holder: Mapping[str, Any], key: str) -> bool | None:
    """A boolean; None if missing or null."""
    value = holder.get(key)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(key, "a boolean", value)
    return value
