"""Reads members of a request and says in OpenAI's own words which one is wrong. Pure functions.

The wordings are those of OpenAI's servers; `_errors` finds `code` and `param` by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import InvalidRequest, as_list, as_object

MAX_INTEGER = 2**31 - 1


def invalid(message: str, *, record: bool = False) -> InvalidRequest:
    """A 400 that asking again does not help; `record`: it quotes nothing of the request."""
    return InvalidRequest(message, retry=False, record=record)


def missing(path: str) -> InvalidRequest:
    """A field that must be there is not."""
    return invalid(f"Missing required parameter: '{path}'.", record=True)


def wrong_type(path: str, expected: str, value: Any) -> InvalidRequest:
    """A field has another type: `expected` is `a string`, `an array of objects`."""
    message = f"Invalid type for '{path}': expected {expected}, but got {kind(value)} instead."
    return invalid(message, record=True)


def wrong_value(path: str, value: Any, supported: str) -> InvalidRequest:
    """A field has a value that is none of those in `supported`."""
    shown = str(value)[:80]
    return invalid(f"Invalid value for '{path}': '{shown}'. Supported values are: {supported}.")


def unsupported(path: str, because: str) -> InvalidRequest:
    """A field that cannot be served."""
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
    """A string that must be there."""
    value = holder.get(key)
    if value is None:
        raise missing(path)
    if not isinstance(value, str):
        raise wrong_type(path, "a string", value)
    return value


def model_of(body: Mapping[str, Any]) -> str:
    """The model that is asked for; an empty name is none."""
    found = text(body, "model", "model")
    if not found.strip():
        raise missing("model")
    return found


def optional_text(holder: Mapping[str, Any], key: str, path: str) -> str:
    """A string; empty where it is missing or null."""
    return "" if holder.get(key) is None else text(holder, key, path)


def optional_object(holder: Mapping[str, Any], key: str, path: str) -> dict[str, Any]:
    """An object; empty where it is missing or null."""
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return as_object(value)


def objects(holder: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    """An array of objects; empty where it is missing or null."""
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
    """A number in a range; None where it is missing or null."""
    value = holder.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(key, "a decimal", value)
    if not low <= value <= high:
        raise invalid(f"Invalid '{key}': expected a value from {low:g} to {high:g}, got {value}.")
    return value


def integer(holder: Mapping[str, Any], key: str, low: int = 1) -> int | None:
    """A whole number of at least `low`; None where it is missing or null."""
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
    """Raises `InvalidRequest` for `stream_options` without a stream (`ChatCompletionStreamOptions`
    in the API reference: "Only set this when you set `stream: true`")."""
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise invalid(
            "Invalid value for 'stream_options': it is only allowed when 'stream' is true."
        )


def boolean(holder: Mapping[str, Any], key: str) -> bool | None:
    """True or false; None where it is missing or null."""
    value = holder.get(key)
    if value is not None and not isinstance(value, bool):
        raise wrong_type(key, "a boolean", value)
    return value
