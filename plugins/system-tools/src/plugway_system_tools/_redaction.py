"""Command lines without passwords and keys.

A program's arguments have no marks for what is secret, so this errs on the side of hiding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from plugway_log import redact

HIDDEN: Final = "***"
_MOST_CHARACTERS: Final = 300
_SECRET: Final = re.compile(
    r"pass(?!ive|enger|through)|pwd|secret|token|key|auth|cred|cookie|header|bearer|login|user|"
    r"session|private|signature|\bpin\b|cert|dsn|webhook|connection|conn-?str|env",
    re.IGNORECASE,
)
"""Names of options and variables whose values are hidden."""
_SHORT: Final = frozenset(f"-{letter}" for letter in "pPuUakHwWebEt")
"""Options that many programs use for a password, a login, a header or a variable."""
_SHORT_VALUE: Final = re.compile(r"(-[pPuUakHwWe])(?=.*[^a-z-])\S.*", re.DOTALL)
"""The same with the value attached, such as `-pHunter2`; not `-patch`."""
_NAMED: Final = re.compile(r"(-{0,2}[\w.:-]{1,80}[=:])(.+)", re.DOTALL)
_USER: Final = re.compile(r"(\w+://)[^/\s@]*@")
_QUERY: Final = re.compile(r"(\w+://[^\s?#]+)[?#]\S*")
_KEY: Final = re.compile(r"(?=[\w+=~-]*[0-9])(?=[\w+=~-]*[A-Za-z])[\w+=~-]{20,}")
"""Long words of letters and digits: keys, tokens, hashes."""


def command_line(arguments: Sequence[str]) -> str:
    """The arguments of a process in one line of at most 300 characters, with `***` for values
    that may be secret."""
    first = arguments[0].split() if arguments else []  # some programs write a whole line there
    shown: list[str] = []
    size, hide = 0, False
    for argument in (*first, *arguments[1:]):
        piece = HIDDEN if hide and not argument.startswith("--") else _shown(argument)
        hide = _hides_next(argument)
        shown.append(piece or '""')
        size += len(piece) + 1
        if size > _MOST_CHARACTERS:
            break
    line = redact(" ".join(shown))
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 1]}…"


def _hides_next(argument: str) -> bool:
    if argument in _SHORT:
        return True
    return argument.startswith("-") and "=" not in argument and _SECRET.search(argument) is not None


def _shown(argument: str) -> str:
    if re.search(r"\s", argument):
        return HIDDEN  # a header, a script or a message
    if short := _SHORT_VALUE.fullmatch(argument):
        return short[1] + HIDDEN
    named = _NAMED.fullmatch(argument)
    if named and not named[2].startswith("//"):
        return named[1] + (HIDDEN if _SECRET.search(named[1]) else _without_keys(named[2]))
    return _without_keys(argument)


def _without_keys(text: str) -> str:
    text = _QUERY.sub(rf"\1?{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))
    return _KEY.sub(HIDDEN, text)
