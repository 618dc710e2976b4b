"""Read calls as Python writes them, `[name(key='value')]`; `_python_spans` finds their end.

Literals only; nothing is evaluated. `true`, `false` and `null` are taken too (LFM2 writes both),
and a string may hold line breaks as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from unicodedata import lookup

from plugway import as_list, as_object

_MAX_DEPTH: Final = 64
_SPACE: Final = re.compile(r"(?:\s++|\\\n|#[^\n]*+)*+")
_NAME: Final = re.compile(r"[A-Za-z_][\w.:/-]*")
_KEY: Final = re.compile(r"[^\W\d][\w-]*")
_DIGITS: Final = r"[0-9](?:_?[0-9])*+"
_NUMBER: Final = re.compile(
    r"[+-]?(?:0[xX](?:_?[\da-fA-F])++|0[oO](?:_?[0-7])++|0[bB](?:_?[01])++"
    rf"|(?:{_DIGITS})?\.{_DIGITS}(?:[eE][+-]?{_DIGITS})?"
    rf"|{_DIGITS}(?:\.(?:[eE][+-]?{_DIGITS})?|[eE][+-]?{_DIGITS})"
    r"|[1-9](?:_?[0-9])*+|0(?:_?0)*+)",
    re.ASCII,
)
"""A number by Python's rules; what follows it directly makes it none."""
_WORDS: Final[dict[str, Any]] = {
    "True": True,
    "False": False,
    "None": None,
    "true": True,
    "false": False,
    "null": None,
}
QUOTES: Final = ("'''", '"""', "'", '"')
INSIDE: Final = {quote: re.compile(rf"{quote}|\\", re.DOTALL) for quote in QUOTES}
_ESCAPE: Final = re.compile(
    r"\\(?:x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|N\{[^{}]+\}|[0-7]{1,3}|.)",
    re.DOTALL | re.ASCII,
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
_KNOWN_SIGNS: Final = {*_PLAIN, *"xuUN01234567", "\n"}
BARE_CALL: Final = re.compile(r"\[\s*(?P<name>[A-Za-z_][\w.-]*)\(")
"""How a list of calls begins that stands bare."""


class NotPython(ValueError):
    """The text is not a call with literal arguments; the message says why."""


def read_python(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The calls in `text`: lists of them, or one after the other.

    Raises:
        NotPython: something in it is not a call with named, literal arguments.
    """
    reader = _Reader(text)
    is_list = reader.take("[")
    while is_list:
        while not reader.take("]"):
            yield reader.call(0)
            reader.comma("]")
        is_list = reader.take("[")
    while not reader.ended:
        if text.lstrip().startswith("["):
            raise NotPython(f"unexpected text at {reader.at}")
        yield reader.call(0)
        reader.take(";")


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
            return self._in_parentheses(depth)
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

    def _in_parentheses(self, depth: int) -> Any:
        """A list; without a comma, the value itself."""
        if self.take(")"):
            return []
        first = self.value(depth + 1)
        if self.take(")"):
            return first
        self.comma(")")
        return [first, *self._items(")", depth)]

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
        quote = next(q for q in QUOTES if self._text.startswith(q, self.at))
        begin = at = self.at + len(quote)
        while found := INSIDE[quote].search(self._text, at):
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
        return float(plain) if re.search(r"[.e]", plain) else int(plain)
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
        if sign[0] == "N":
            return lookup(sign[2:-1])
        if sign[0] in "xuU":
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
    except (ValueError, OverflowError, KeyError):
        raise NotPython("a string holds an escape that is not a character") from None
