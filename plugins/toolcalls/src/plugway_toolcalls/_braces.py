"""Reads `{key:value}` with bare keys and marked strings, the arguments of Gemma's own calls."""

from __future__ import annotations

import re
from typing import Any, Final

_KEY = re.compile(r"\s*([^:{}\[\],\s][^:{}\[\],]*?)\s*:\s*")
_BARE = re.compile(r"\s*([^,{}\[\]]*)")
_MAX_DEPTH: Final = 64
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "none": None}


def read_braces(text: str, quote: str) -> Any:
    """The value that `text` is.

    Raises:
        ValueError: it is not written that way.
    """
    reader = _Reader(text, quote)
    value = reader.value(0)
    if text[reader.at :].strip(" \n}"):
        raise ValueError(f"unexpected text at {reader.at}")
    return value


class _Reader:
    def __init__(self, text: str, quote: str) -> None:
        self._text, self._quote = text, quote
        self.at = 0

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        self._skip()
        if self._text.startswith(self._quote, self.at):
            return self._string(self._quote)
        if self._text.startswith('"', self.at):
            return self._string('"')
        if self._take("{"):
            return self._object(depth)
        if self._take("["):
            return self._list(depth)
        return self._bare()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._take("}"):
            key = self._key()
            found[key] = self.value(depth + 1)
            if not self._take(",") and not self._text.startswith("}", self.at):
                raise ValueError(f"expected `,` or `}}` at {self.at}")
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self._take("]"):
            found.append(self.value(depth + 1))
            if not self._take(",") and not self._text.startswith("]", self.at):
                raise ValueError(f"expected `,` or `]` at {self.at}")
        return found

    def _key(self) -> str:
        self._skip()
        for mark in (self._quote, '"'):
            if self._text.startswith(mark, self.at):
                key = self._string(mark)
                if not self._take(":"):
                    raise ValueError(f"expected `:` at {self.at}")
                return key
        match = _KEY.match(self._text, self.at)
        if match is None:
            raise ValueError(f"expected a name at {self.at}")
        self.at = match.end()
        return match[1]

    def _string(self, mark: str) -> str:
        start = self.at + len(mark)
        end = self._text.find(mark, start)
        if end < 0:
            raise ValueError(f"a string that begins at {self.at} has no end")
        self.at = end + len(mark)
        return self._text[start:end]

    def _bare(self) -> Any:
        match = _BARE.match(self._text, self.at)
        word = match[1].strip() if match else ""
        if not match or not word:
            raise ValueError(f"expected a value at {self.at}")
        self.at = match.end()
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        for convert in (int, float):
            try:
                return convert(word)
            except ValueError:
                continue
        return word

    def _take(self, mark: str) -> bool:
        self._skip()
        if self._text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def _skip(self) -> None:
        while self.at < len(self._text) and self._text[self.at] in " \n\t\r":
            self.at += 1
