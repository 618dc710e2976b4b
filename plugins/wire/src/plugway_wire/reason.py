"""Extracts the message and the code from an upstream's error body of any format.

Plugins decide what the error means and how it is reported.
"""

from __future__ import annotations

import re
from typing import Any, Final, cast

import orjson

MAX_CHARACTERS: Final = 4000
"""Longer texts are truncated; no documented error is nearly as long."""

_KEYS = ("message", "error", "detail", "msg")
_CODES = ("code", "status", "type")
_CODE = re.compile(r"(?:[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+|ABORTED|INTERNAL|UNAVAILABLE)")
"""A single word is not a code, except Google's: it could be any text."""
_LONGEST_CODE = 48
_DEPTH = 6


def reason_in(body: bytes) -> str:
    """The message in an error body, in JSON or plain text; empty for a web page or no body."""
    plain = body[: 4 * MAX_CHARACTERS].decode("utf-8", "replace").strip()
    try:
        found = reason_of(orjson.loads(body))
    except orjson.JSONDecodeError:
        return "" if plain.startswith("<") else plain[:MAX_CHARACTERS]
    return found or plain[:MAX_CHARACTERS]


def reason_of(value: Any) -> str:
    """The message in parsed JSON; empty if no known member has one."""
    return _reason(value, _DEPTH)[:MAX_CHARACTERS]


def _reason(value: Any, depth: int) -> str:
    if isinstance(value, str):
        return value.strip()
    if not depth:
        return ""
    if isinstance(value, list):
        items = cast("list[Any]", value)[:10]
        return "; ".join(text for item in items if (text := _reason(item, depth - 1)))
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        for key in _KEYS:
            if text := _reason(members.get(key), depth - 1):
                return text
    return ""


def code_in(body: bytes) -> str:
    """The code in an error body, such as `context_length_exceeded`, or its type; else empty.
    Unlike the message it never quotes the request."""
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(found, list) and found:
        found = cast("list[Any]", found)[0]
    outer = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    inner = outer.get("error")
    named = cast("dict[str, Any]", inner) if isinstance(inner, dict) else outer
    for key in _CODES:
        value = named.get(key)
        if isinstance(value, str) and len(value) <= _LONGEST_CODE and _CODE.fullmatch(value):
            return value
    return ""
