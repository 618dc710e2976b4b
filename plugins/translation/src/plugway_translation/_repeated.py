"""Handles arguments of one call that a server sends repeatedly: whole, or longer each time.

Seen: `{}` at the start of the call and the arguments later; the complete arguments again in the
last chunk; each chunk with everything so far. Reports: openai/openai-agents-js#712,
microsoft/autogen#7549.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import Any, Final, cast

from plugway import as_list, as_object
from plugway_translation._arguments import parse_arguments
from plugway_wire.arguments import object_text

_DECODER: Final = JSONDecoder()
_MOST: Final = 10_000
"""Limit of consecutive values in one text."""
_BLANK: Final = re.compile(r"\s*+")


def last_version(versions: list[str]) -> str | None:
    """The text of the final object among `versions`; None if they are not versions of the same
    arguments, e.g. if they belong to two calls.

    A version with less content does not replace an earlier one, so `{}` never does.
    """
    best, members = "", None
    for text in versions:
        found = parse_arguments(text)
        if found is None:
            continue  # the start of a later version, or truncated
        if members is None or _grows(members, found):
            best, members = text, found
        elif not _grows(found, members):
            return None
    return object_text(best) if members is not None else None


def last_of_joined(text: str) -> str | None:
    """Like `last_version`, for concatenated versions: `{}{"a": 1}`. None for any other text."""
    versions = split_versions(text)
    return last_version(versions) if len(versions) > 1 else None


def split_versions(text: str) -> list[str]:
    """The consecutive JSON values in `text`; empty if it contains anything else."""
    versions: list[str] = []
    at = len(text) - len(text.lstrip())
    while text.startswith(("{", '"', "null"), at) and len(versions) < _MOST:
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        versions.append(text[at:end])
        blank = _BLANK.match(text, end)
        at = blank.end() if blank else end
    return versions if at == len(text) else []


def _grows(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether `new` has all members of `old`, with the same or later values."""
    return all(name in new and _later(value, new[name]) for name, value in old.items())


def _later(old: Any, new: Any) -> bool:
    """Whether `new` continues `old`, as parsers of incomplete JSON report it."""
    if old is None or old == new:
        return True
    if isinstance(old, str) and isinstance(new, str):
        return new.startswith(old)
    if isinstance(old, dict) and isinstance(new, dict):
        return _grows(as_object(cast("Any", old)), as_object(cast("Any", new)))
    if isinstance(old, list) and isinstance(new, list):
        before, after = as_list(cast("Any", old)), as_list(cast("Any", new))
        return len(before) <= len(after) and all(map(_later, before, after))
    if isinstance(old, bool) or not isinstance(old, int | float):
        return False
    return isinstance(new, int | float) and str(new).startswith(str(old))
