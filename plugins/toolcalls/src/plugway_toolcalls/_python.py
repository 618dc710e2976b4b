"""Calls as Python writes them, `[name(key='value')]`: where one ends, and what it says.

Literals only; nothing is evaluated. `true`, `false` and `null` are taken too (LFM2 writes both),
and a string may hold line breaks as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._spans import HEAD_LIMIT, NOT_A_CALL

_MAX_DEPTH: Final = 64
_SPACE: Final = re.compile(r"(?:\s++|\\\n|#[^\n]*+)*+")
_NAME: Final = re.compile(r"[A-Za-z_][\w.:/-]*")
_KEY: Final = re.compile(r"[^\W\d][\w-]*")
_NUMBER: Final = re.compile(r"[+-]?(?:0[xXoObB][\da-fA-F_]+|[\d_]*\.?[\d_]+(?:[eE][+-]?\d+)?\.?)")
_WORDS: Final[dict[str, Any]] = {
    "True": True,
    "False": False,
    "None": None,
    "true": True,
    "false": False,
    "null": None,
}
_QUOTES: Final = ("'''", '"""', "'", '"')
_INSIDE: Final = {quote: re.compile(rf"{quote}|\\", re.DOTALL) for quote in _QUOTES}
_ESCAPE: Final = re.compile(
    r"\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL
)
_PLAIN: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_BEGINS: Final = re.compile(r"\[?\s*+[A-Za-z_][\w.:/-]*+\s*+\(|\[\s*\]")
_MAY_BEGIN: Final = re.compile(r"\[?\s*+(?:[A-Za-z_][\w.:/-]*+\s*+)?")
_KNOWN_SIGNS: Final = {*_PLAIN, *"xuU01234567", "\n"}
BARE_CALL: Final = re.compile(r"\[\s*(?P<name>[A-Za-z_][\w.-]*)\(")
"""How a list of calls begins that stands bare."""


class NotPython(ValueError):
    """The text is not a call with literal arguments; the message says why."""


class PythonFinder:
    """Finds the end of a list of calls, or of statements up to the closing marker.

    A marker inside of a string is a part of the string.
    """

    def __init__(self, spec: CallFormat) -> None:
        self._closing = spec.closing
        self._is_fence = spec.opening.startswith("`")
        marker = f"|{re.escape(spec.closing)}" if spec.closing else ""
        self._outside = re.compile(rf"#[^\n]*+|[()\[\]{{}}'\"]{marker}")
        self._at: int = 0
        self._depth = 0
        self._quote = ""
        self._is_list: bool | None = None
        self._value_end = -1

    def find(self, text: str, final: bool, cut: bool = False) -> int | None:
        """See `Finder.find`."""
        if self._is_list is None:
            begun = text.lstrip()
            if not begun[1:].lstrip() and not final:
                return None if len(text) < HEAD_LIMIT else NOT_A_CALL
            if not self._is_fence and _BEGINS.match(begun) is None:
                if final or len(begun) >= HEAD_LIMIT or _MAY_BEGIN.fullmatch(begun) is None:
                    return NOT_A_CALL
                return None
            self._is_list = begun.startswith("[")
        while self._value_end < 0:
            end = self._advance(text, final)
            if end is None:
                return self._at_the_end(text, cut) if final else None
            if end >= 0:
                return end
        return self._with_closing(text, final)

    def _advance(self, text: str, final: bool) -> int | None:
        """One step: where the call ends, -1 where it goes on, None where the text ends."""
        if self._quote:
            found = _INSIDE[self._quote].search(text, self._at)
            if found is None:
                self._at = max(self._at, len(text) - len(self._quote) + 1)
                return None
            if found[0] == "\\" and found.end() == len(text):
                self._at = found.start()
                return None
            self._at = found.end() + (found[0] == "\\")
            self._quote = self._quote if found[0] == "\\" else ""
            return -1
        found = self._outside.search(text, self._at)
        if found is None:
            self._at = max(self._at, len(text) - max(len(self._closing) - 1, 0))
            return None
        return self._outside_string(found, text, final)

    def _outside_string(self, found: re.Match[str], text: str, final: bool) -> int | None:
        mark = found[0]
        if mark[0] == "#" and found.end() == len(text) and not final:
            self._at = found.start()
            return None
        if mark in {"'", '"'}:
            three = text[found.start() : found.start() + 3]
            if len(three) < 3 and three == mark * len(three) and not final:
                self._at = found.start()
                return None
            self._quote = mark * 3 if three == mark * 3 else mark
            self._at = found.start() + len(self._quote)
            return -1
        self._at = found.end()
        if mark == self._closing:
            return found.end()
        if mark in "([{":
            self._depth += 1
        elif mark in ")]}":
            self._depth -= 1
            if self._depth <= 0 and self._is_list:
                self._value_end = found.end()
        return -1

    def _at_the_end(self, text: str, cut: bool) -> int:
        """A closing marker in a string that is never closed, or none at all."""
        at = text.find(self._closing) if self._closing else -1
        if cut or not self._closing:
            return NOT_A_CALL
        return at + len(self._closing) if at >= 0 else NOT_A_CALL

    def _with_closing(self, text: str, final: bool) -> int | None:
        if not self._closing:
            return self._value_end
        rest = text[self._value_end : self._value_end + HEAD_LIMIT]
        begun = rest.lstrip()
        if begun.startswith(self._closing):
            return self._value_end + len(rest) - len(begun) + len(self._closing)
        if self._closing.startswith(begun) and len(rest) < HEAD_LIMIT and not final:
            return None
        return self._value_end


def read_python(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls in `text`: a list of them, or one after the other.

    Raises:
        NotPython: something in it is not a call with named, literal arguments.
    """
    reader = _Reader(text)
    if not reader.take("["):
        while not reader.ended:
            yield reader.call(0)
            reader.take(";")
        return
    while not reader.take("]"):
        yield reader.call(0)
        reader.comma("]")
    if not reader.ended:
        raise NotPython(f"unexpected text at {reader.at}")


def python_value(text: str) -> dict[str, Any] | list[Any] | None:
    """The object or list that the whole text is as Python writes it; None: it is neither."""
    reader = _Reader(text)
    try:
        value = reader.value(0)
    except NotPython:
        return None
    if not reader.ended:
        return None
    return as_list(value) if isinstance(value, list) else as_object(value) or None


def python_string(text: str, start: int) -> tuple[str, int]:
    """The string that begins at `start`, and where it ends.

    Raises:
        NotPython: it is not closed, or may be meant in two ways.
    """
    reader = _Reader(text, start)
    return reader.string(raw=False), reader.at


class _Reader:
    def __init__(self, text: str, at: int = 0) -> None:
        self._text = text
        self.at = at

    @property
    def ended(self) -> bool:
        self._skip()
        return self.at >= len(self._text)

    def take(self, mark: str) -> bool:
        self._skip()
        if self._text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def call(self, depth: int) -> tuple[str, dict[str, Any]]:
        if depth > 3:
            raise NotPython("it is nested too deeply")
        name = self._match(_NAME, "the name of a tool")
        if not self.take("("):
            raise NotPython(f"expected `(` at {self.at}")
        if name == "print":
            inner = self.call(depth + 1)
            if not self.take(")"):
                raise NotPython(f"expected `)` at {self.at}")
            return inner
        return name.removeprefix("default_api."), self._arguments()

    def _arguments(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self.take(")"):
            if self.take("**") or self._text.startswith("{", self.at):
                more = self.value(0)
                if not isinstance(more, dict):
                    raise NotPython("an argument has no name")
                pairs = as_object(more)
            else:
                name = self._match(_KEY, "the name of an argument")
                if not self.take("="):
                    raise NotPython(f"expected `=` at {self.at}")
                pairs = {name: self.value(0)}
            for name in pairs:
                if name in found:
                    raise NotPython(f"the argument {name[:80]!r} comes twice")
            found |= pairs
            self.comma(")")
        return found

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise NotPython("it is nested too deeply")
        self._skip()
        if self.take("["):
            return self._items("]", depth)
        if self.take("("):
            return self._items(")", depth)
        if self.take("{"):
            return self._dict(depth)
        raw = self._text[self.at : self.at + 2].lower() in {"r'", 'r"'}
        if raw or self._text[self.at : self.at + 1] in {"'", '"'}:
            self.at += raw
            return self.string(raw=raw)
        return self._plain()

    def _items(self, closer: str, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self.take(closer):
            found.append(self.value(depth + 1))
            self.comma(closer)
        return found

    def _dict(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self.take("}"):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise NotPython(f"expected a name in quotes before {self.at}")
            if key in found:
                raise NotPython(f"the name {key[:80]!r} comes twice")
            if not self.take(":"):
                raise NotPython(f"expected `:` at {self.at}")
            found[key] = self.value(depth + 1)
            self.comma("}")
        return found

    def comma(self, closer: str) -> None:
        if not self.take(",") and not self._text.startswith(closer, self.at):
            raise NotPython(f"expected `,` or `{closer}` at {self.at}")

    def string(self, *, raw: bool) -> str:
        quote = next(q for q in _QUOTES if self._text.startswith(q, self.at))
        begin = at = self.at + len(quote)
        while found := _INSIDE[quote].search(self._text, at):
            if found[0] == quote:
                break
            at = found.end() + 1
        if found is None:
            raise NotPython(f"the string that starts at {self.at} is not closed")
        self.at = found.end()
        body = self._text[begin : found.start()]
        return body if raw else _unescaped(body, lines_joined=len(quote) == 3)

    def _plain(self) -> Any:
        if (match := _NUMBER.match(self._text, self.at)) is not None:
            self.at = match.end()
            return _number(match[0])
        word = self._match(_KEY, "a value")
        if word not in _WORDS:
            raise NotPython(f"{word[:80]!r} is not a value")
        return _WORDS[word]

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        self._skip()
        match = pattern.match(self._text, self.at)
        if match is None:
            raise NotPython(f"expected {what} at {self.at}")
        self.at = match.end()
        return match[0]

    def _skip(self) -> None:
        skipped = _SPACE.match(self._text, self.at)
        self.at = skipped.end() if skipped else self.at


def _number(word: str) -> int | float:
    plain = word.replace("_", "").lower()
    try:
        if re.match(r"[+-]?0[xob]", plain):
            return int(plain, 0)
        return float(plain) if re.search(r"[.e]", plain) or len(plain) > 300 else int(plain)
    except ValueError:
        raise NotPython(f"{word[:80]!r} is not a number") from None


def _unescaped(body: str, *, lines_joined: bool) -> str:
    """A string's value. A backslash that means nothing stands for itself, as in Python: only where
    no other means something else, because `C:\\new\\dir` may be meant in two ways."""
    signs = {found[0][1] for found in _ESCAPE.finditer(body)}
    if signs - _KNOWN_SIGNS and signs & _KNOWN_SIGNS - set("\\'\"\n"):
        raise NotPython("backslashes in a string may be meant in two ways")

    def said(match: re.Match[str]) -> str:
        sign = match[0][1:]
        if sign[0] in "xuU" and len(sign) > 1:
            return chr(int(sign[1:], 16))
        if sign[0] in "01234567":
            return chr(int(sign, 8))
        if sign == "\n":
            return "" if lines_joined else match[0]
        return _PLAIN.get(sign, match[0])

    if "\\" not in body:
        return body
    try:
        text = _ESCAPE.sub(said, body)
        # Two halves of one character, as JSON writes them.
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except (ValueError, OverflowError):
        raise NotPython("a string holds an escape that is not a character") from None
