"""Finds escapes in JSON text that arrives in pieces. Pure functions."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|u[0-9a-fA-F]{0,3}\Z|.|\Z)",
    re.DOTALL,
)
_NEAR: Final = 12
"""Characters of an escaped surrogate pair."""


def end_of_escapes(text: str) -> int:
    """The end of the part of a JSON text that later text cannot change.

    It ends before an escape, or a surrogate pair, that may be incomplete. `text` must not start
    within an escape.
    """
    end = len(text)
    if "\\" not in text[-_NEAR:]:
        return end
    before = last = None
    for found in _TOKEN.finditer(text):
        before, last = last, found
    if last is None or last.end() < end:
        return end
    if _is_first_half(last):
        return last.start()
    if last[0] != "\\" and (last[0][1] != "u" or len(last[0]) > 5):
        return end
    pair = before is not None and before.end() == last.start() and _is_first_half(before)
    return before.start() if before is not None and pair else last.start()


def _is_first_half(found: re.Match[str]) -> bool:
    half = found["half"]
    return half is not None and half[2] in "89abAB"
