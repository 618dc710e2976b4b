"""Text of tools as data."""

from __future__ import annotations

import re
from typing import Final

MAX_CHARACTERS: Final = 2**20
"""Longest text of a result."""
_CONTROL: Final = re.compile(r"[^\S\t\r\n ]|\r(?!\n)|[^\s\x20-\x7e\xa1-\U0010ffff]")
"""All but tabs and the ends of lines, which an edit of a file must repeat as they are."""
_HIDDEN: Final = re.compile("[\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Invisible characters, and those that change the direction of text."""


def harmless(text: str, limit: int = MAX_CHARACTERS) -> str:
    """`text` with control and invisible characters escaped; if it is longer than `limit`
    characters, its first quarter of the limit and a note."""
    if len(text) > limit:
        text = f"{text[: limit // 4]}\n[cut: {len(text):,} characters]"
    return _HIDDEN.sub(_escaped, _CONTROL.sub(_escaped, text))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
