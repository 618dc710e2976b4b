"""Arguments of one call that a server sends more than once: whole, or longer each time.

Seen: `{}` when the call begins and the arguments later; the whole arguments again in the last
chunk; each chunk with everything so far. Reports: openai/openai-agents-js#712,
microsoft/autogen#7549.
"""

from __future__ import annotations

from json import JSONDecoder
from typing import Any, Final, cast

import orjson

_DECODER: Final = JSONDecoder()
_MOST: Final = 64
"""Objects that stand one after the other in one text."""


def last_meant(versions: list[str]) -> str | None:
    """The version that a server means by the last of `versions`; None where they are not versions
    of the same arguments, such as those of two calls.

    A version that says less than an earlier one does not replace it, so that `{}` never does.
    """
    best, members = "", None
    for text in versions:
        found = _object(text)
        if found is None:
            continue  # the beginning of a later one, or cut off
        if members is None or _grows(members, found):
            best, members = text, found
        elif not _grows(found, members):
            return None
    return best or None


def one_of_many(text: str) -> str | None:
    """The same for versions that were joined: `{}{"a": 1}`. None where `text` is anything else."""
    versions: list[str] = []
    at = 0
    while text.startswith("{", at) and len(versions) < _MOST:
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        versions.append(text[at:end])
        rest = text[end:].lstrip()
        at = len(text) - len(rest)
    return last_meant(versions) if at == len(text) and len(versions) > 1 else None


def _object(text: str) -> dict[str, Any] | None:
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _grows(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether `new` has all that `old` has; a text may have become longer."""
    return all(name in new and _longer(value, new[name]) for name, value in old.items())


def _longer(old: Any, new: Any) -> bool:
    return old == new or (isinstance(old, str) and isinstance(new, str) and new.startswith(old))
