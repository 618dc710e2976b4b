"""Parse text that is almost JSON: with comments, extra commas, other quotes, missing brackets.

Text that is cut off inside a string is not parsed: the missing part is unknown.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

_MAX_DEPTH: Final = 100
_SKIP = re.compile(r"(?:\s++|//[^\n]*+|/\*.*?\*/)*+", re.DOTALL)
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_$][\w$-]*")
_STRING = {
    '"': re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL),
    "'": re.compile(r"'((?:[^'\\]|\\.)*+)'", re.DOTALL),
}
_ESCAPES = re.compile(r"(?<!\\)(?:\\\\)*\\[bfnrtu]")
_FOREIGN_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\(?![\"\\/])")
"""A backslash that JSON does not define is kept literally, as in `\\d+`, but only in a string
without any defined escape, because `C:\\new\\dir` is ambiguous."""
_WORDS: Final[dict[str, Any]] = {
    "true": True,
    "false": False,
    "null": None,
    "True": True,
    "False": False,
    "None": None,
    "undefined": None,
}
_INFINITE: Final = (math.inf, -math.inf)
_FENCE = re.compile(r"```[\w-]*+\s*+")


class NotJson(ValueError):
    """The text cannot be parsed; the message has the reason."""


def load(text: str) -> tuple[Any, bool]:
    """The value of a complete text, and whether it is not strictly JSON.

    Raises:
        NotJson: it is not even almost JSON.
    """
    try:
        return json.loads(text, parse_constant=_refused), False
    except (ValueError, RecursionError) as error:
        reason = str(error)
    text = _unfenced(text)
    try:
        value, end = read(text, 0)
    except NotJson as error:
        raise NotJson(f"{reason}; {error}") from None
    rest = text[end:].strip(" \t\r\n;}],")
    if rest:
        raise NotJson(f"{reason}; there is more after the value: {rest[:40]!r}")
    return value, True


def _refused(constant: str) -> Any:
    """Python reads `NaN` and `Infinity` too; JSON does not have them."""
    raise NotJson(f"{constant} is not a value")


def _unfenced(text: str) -> str:
    """`text` without a Markdown fence around it."""
    inner = text.strip()
    fence = _FENCE.match(inner)
    if fence is None or not inner.endswith("```") or fence.end() > len(inner) - 3:
        return text
    return inner[fence.end() : -3]


def read(text: str, start: int, *, closing: bool = True) -> tuple[Any, int]:
    """The value that starts at `start`, and its end.

    `closing`: add missing closing brackets at the end of the text.

    Raises:
        NotJson: there is no value.
    """
    reader = _Reader(text, start, closing)
    value = reader.value(0)
    return value, reader.at


class _Reader:
    def __init__(self, text: str, at: int, closing: bool) -> None:
        self._text = text
        self._closing = closing
        self.at = at

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise NotJson("it is nested too deeply")
        mark = self._peek()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._list(depth)
        if mark in _STRING:
            return self._string(mark)
        return self._plain()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while (mark := self._peek()) != "}":
            if mark == "":
                self._close()
                return found
            if mark == ",":
                self.at += 1
                continue
            key = self._string(mark) if mark in _STRING else self._word()
            if self._peek() != ":":
                raise NotJson(f"expected `:` at {self.at}")
            self.at += 1
            found[key] = self.value(depth + 1)
            self._between("}")
        self.at += 1
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while (mark := self._peek()) != "]":
            if mark == "":
                self._close()
                return found
            if mark == ",":
                self.at += 1
                continue
            found.append(self.value(depth + 1))
            self._between("]")
        self.at += 1
        return found

    def _close(self) -> None:
        if not self._closing:
            raise NotJson("it is not closed")

    def _between(self, closer: str) -> None:
        if self._peek() not in {",", closer, ""}:
            raise NotJson(f"expected `,` or `{closer}` at {self.at}")

    def _string(self, quote: str) -> str:
        match = _STRING[quote].match(self._text, self.at)
        if match is None:
            raise NotJson(f"the string that starts at {self.at} is not closed")
        self.at = match.end()
        body = match[1]
        if quote == "'":
            body = re.sub(r"\\'|\"", lambda m: "'" if m[0] == "\\'" else '\\"', body)
        if not _ESCAPES.search(body):
            body = _FOREIGN_ESCAPE.sub(r"\\\g<0>", body)
        try:
            return str(json.loads(f'"{body}"', strict=False))
        except ValueError as error:
            raise NotJson(f"the string that begins at {match.start()}: {error}") from None

    def _plain(self) -> Any:
        match = _NUMBER.match(self._text, self.at)
        if match is not None:
            self.at = match.end()
            word = match[0]
            value = int(word) if re.fullmatch(r"-?\d{1,4000}", word) else float(word)
            if value in _INFINITE:
                raise NotJson(f"the number at {match.start()} is too large")
            return value
        word = self._word()
        if word not in _WORDS:
            raise NotJson(f"{word!r} is not a value")
        return _WORDS[word]

    def _word(self) -> str:
        match = _WORD.match(self._text, self.at)
        if match is None:
            raise NotJson(f"expected a value at {self.at}")
        self.at = match.end()
        return match[0]

    def _peek(self) -> str:
        skipped = _SKIP.match(self._text, self.at)
        self.at = skipped.end() if skipped else self.at
        return self._text[self.at : self.at + 1]
