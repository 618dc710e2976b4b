"""Checks whether a target can compile a schema's regular expressions. Pure functions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

Patterns = Literal["python", "linear", "anchored"]
"""`python`: Python's `re`, with which OpenAI and servers with `jsonschema` check a tool ("is not a
'regex'"); `linear`: without lookaround and backreferences; `anchored`: the subset that llama.cpp
converts to a grammar (`_visit_pattern` of `common/json-schema-to-grammar.cpp`)."""

_BACKTRACKS: Final = re.compile(r"\(\?<?[=!]|\(\?P=|\(\?\(|\\[1-9]|\\k")
_ANCHORED: Final = re.compile(
    r"""\^(?:
        \[\^?(?:[^\\\]\[]|\\[\]\[\\^"./-])+\]   # a class without nested classes
        | \\[\^$.\[\]()|{}*+?]                  # an escaped special character
        | \((?!\?) | [^\\\[\](^$]
    )*\$""",
    re.VERBOSE | re.DOTALL,
)
_REPEATED: Final = re.compile(r"\{(\d*),?(\d*)\}")
_MOST_REPEATS: Final = 255
_MOST: Final = 2000
"""Length limit; a longer pattern counts as not compilable."""


@lru_cache(maxsize=512)
def compiles(pattern: str, by: Patterns) -> bool:
    """Whether the target is expected to compile `pattern`. Never raises."""
    if len(pattern) > _MOST:
        return False
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    if by == "python":
        return True
    if _BACKTRACKS.search(pattern):
        return False
    if by == "linear":
        return True
    repeats = [int(n) for pair in _REPEATED.findall(pattern) for n in pair if n]
    return bool(_ANCHORED.fullmatch(pattern)) and max(repeats, default=0) <= _MOST_REPEATS
