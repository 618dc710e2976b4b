"""Parse `{key:value}` with bare keys and marked strings, the arguments of Gemma's own calls.

Nothing is escaped between the marks, so a string ends where the format can continue after it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from plugway_toolcalls._python import python_string
from plugway_toolcalls._tokens import Inner

_KEY = re.compile(r"\s*([^:{}\[\],\s][^:{}\[\],]*?)\s*:\s*")
_BARE = re.compile(r"\s*([^,{}\[\]]*)")
_NUMBER = re.compile(r"-?\d{1,300}(?P<float>(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)")
_MAX_DEPTH: Final = 64
_GAP: Final = 100
"""Maximum white space that is skipped to find the text before it."""
NO_CALLS: Final = Inner()
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None, "none": None}


def read_braces(text: str, quote: str, inner: Inner = NO_CALLS) -> Any:
    """The value of `text`. `inner`: the calls in it, which are part of strings.

    Raises:
        ValueError: it is not in this format.
    """
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        pass
    reader = _Reader(text, quote, inner)
    value = reader.value(0)
    if text[reader.at :].strip(" \n}"):
        raise ValueError(f"unexpected text at {reader.at}")
    return value


class _Reader:
    def __init__(self, text: str, quote: str, inner: Inner) -> None:
        self._text, self._quote, self._inner = text, quote, inner
        mark = re.escape(quote)
        self._ends = re.compile(
            rf"{mark}(?=\s*+(?:,\s*+(?:{mark}|[\"\[{{]|[\w$.-]++\s*+:|[-\d]|true|false|null)"
            rf"|[}}\]][}}\]\s]*+(?:,|\Z)|:|\Z))"
        )
        self.at = 0

    def value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        self._skip()
        if self._text.startswith(self._quote, self.at):
            return self._string(self._quote)
        if self._text[self.at : self.at + 1] in {'"', "'"}:
            return self._escaped()
        if self._take("{"):
            return self._object(depth)
        if self._take("["):
            return self._list(depth)
        return self._bare()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._take("}"):
            key = self._key()
            if key in found:
                raise ValueError(f"the name {key[:80]!r} occurs twice")
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
        quoted = self._text.startswith((self._quote, '"'), self.at)
        if quoted:
            own = self._text.startswith(self._quote, self.at)
            key = self._string(self._quote) if own else self._escaped()
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
        found = self._ends.search(self._text, start)
        for begin, end in self._inner.whole:
            if found is not None and start <= begin < found.start() < end:
                found = self._ends.search(self._text, end)
        if found is None:
            raise ValueError(f"a string that starts at {self.at} is not closed")
        self.at = found.end()
        goes_on = self._text[self.at : self.at + _GAP].lstrip().startswith(",")
        if goes_on and any(start <= begun < found.start() for begun in self._inner.begun):
            raise ValueError(f"what follows at {self.at} may be in another call")
        return self._text[start : found.start()]

    def _escaped(self) -> str:
        """A string in JSON or Python syntax."""
        if self._text.startswith('"', self.at):
            try:
                value, self.at = json.JSONDecoder(strict=False).raw_decode(self._text, self.at)
                return str(value)
            except ValueError:
                pass
        text, self.at = python_string(self._text, self.at)
        return text

    def _bare(self) -> Any:
        match = _BARE.match(self._text, self.at)
        word = match[1].strip() if match else ""
        if not match or not word or self._quote in word:
            raise ValueError(f"expected a value at {self.at}")
        self.at = match.end()
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        number = _NUMBER.fullmatch(word)
        if number is None:
            return word
        return float(word) if number["float"] else int(word)

    def _take(self, mark: str) -> bool:
        self._skip()
        if self._text.startswith(mark, self.at):
            self.at += len(mark)
            return True
        return False

    def _skip(self) -> None:
        while self.at < len(self._text) and self._text[self.at] in " \n\t\r":
            self.at += 1
