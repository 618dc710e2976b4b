"""Find text that may be part of a format with unescaped values.

See `_held` for how the end of a call is decided from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from plugway_toolcalls._families._base import CallFormat

_EDGE: Final = 2048
"""Characters at the end of a text in which further text may change the findings: longer than any
opening with the name of a tool and of an argument."""
CDATA: Final = "<![CDATA["
CDATA_END: Final = "]]>"
_BLANKS: Final = r"\s{0,400}+"


class Token(NamedTuple):
    """A piece of text that may be part of the format."""

    kind: str
    """`open` or `close` of a call, `key` or `end` of an argument."""
    start: int
    end: int
    match: re.Match[str] | None


class _Found(NamedTuple):
    token: Token
    after: int
    """Index where the search continued."""
    sure: bool
    """Whether further text cannot change it."""


class Tokens:
    """Finds text that may be part of one format."""

    def __init__(self, spec: CallFormat) -> None:
        closes = [re.escape(spec.closing)]
        if spec.outers:
            outer = "|".join(map(re.escape, spec.outers))
            closes = [rf"{closes[0]}{_BLANKS}(?:{outer})", *closes, outer]
        close = "|".join(closes)
        self.head = re.compile(spec.head)
        self.closing = re.compile(close)
        head = _unnamed(spec.head)
        follows = rf"{_BLANKS}(?:{_unnamed(spec.key)}|{close}|\{{)" if spec.key else ""
        begun = rf"{re.escape(spec.opening)}{head}(?={follows})"
        key = f"|(?P<k>{spec.key})" if spec.key else ""
        ending = re.escape(spec.parameter_end).replace(r"\{key\}", r"(?P<ended>[^<>\n]+)")
        end = f"|(?P<e>{ending})" if spec.parameter_end else ""
        self._any = re.compile(rf"(?P<o>{begun})|(?P<c>{close}){key}{end}", re.DOTALL)
        escaped = re.escape(CDATA_END) + rf"(?=\s*{re.escape(spec.parameter_end)})"
        self._cdata = re.compile(escaped) if spec.cdata else None
        self.json = re.compile(r"\s*+\{\s*+\"" if spec.kind == "braces" else r"\s*+\{")

    def of(self, text: str) -> list[Token]:
        """All tokens, without those inside JSON arguments."""
        return [found.token for found in self.found(text, 0)]

    def found(self, text: str, at: int) -> list[_Found]:
        """The same, from `at` on."""
        found: list[_Found] = []
        names = {"o": "open", "c": "close", "k": "key", "e": "end"}
        while match := self._any.search(text, at):
            token = Token(names[str(match.lastgroup)], match.start(), match.end(), match)
            at, sure = token.end, True
            if token.kind == "open" and self.json.match(text, at):
                at, sure = _end_of_json(text, at)
            elif token.kind == "key" and self._cdata and text.startswith(CDATA[:-1], at):
                at, sure = self._end_of_cdata(text, at)
            found.append(_Found(token, at, sure))
        return found

    def _end_of_cdata(self, text: str, at: int) -> tuple[int, bool]:
        """The same as `_end_of_json` for a value that stands in CDATA."""
        found = self._cdata.search(text, at) if self._cdata else None
        return (found.end(), True) if found is not None else (len(text), False)


@lru_cache
def tokens_of(spec: CallFormat) -> Tokens:
    """The tokens of one format; cached."""
    return Tokens(spec)


def nested(tokens: list[Token]) -> dict[int, int]:
    """The calls that are opened and closed inside values: the index of the token that closes each,
    by the index of the one that opens it."""
    partner: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind == "open":
            opened.append(index)
        elif token.kind == "close" and opened:
            partner[opened.pop()] = index
    return partner


class Inner(NamedTuple):
    """The calls in the text of a call: they are part of its values."""

    whole: tuple[tuple[int, int], ...] = ()
    """Where the outermost ones begin and end, in order."""
    begun: tuple[int, ...] = ()
    """Where those begin that do not end."""


def inner_calls(spec: CallFormat, text: str) -> Inner:
    """The calls in `text`, the arguments of a call."""
    tokens = tokens_of(spec).of(text)
    partner = nested(tokens)
    whole: list[tuple[int, int]] = []
    for begin, end in sorted(partner.items()):
        if not whole or tokens[begin].start >= whole[-1][1]:
            whole.append((tokens[begin].start, tokens[end].end))
    opens = (index for index, token in enumerate(tokens) if token.kind == "open")
    return Inner(tuple(whole), tuple(tokens[i].start for i in opens if i not in partner))


def _unnamed(pattern: str) -> str:
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


def _end_of_json(text: str, at: int) -> tuple[int, bool]:
    """The end of the JSON object that starts at `at` after white space; `at` if there is none.

    Also whether further text cannot change it.
    """
    start = text.find("{", at)
    try:
        return json.JSONDecoder(strict=False).raw_decode(text, start)[1], True
    except json.JSONDecodeError as error:
        open_string = error.msg.startswith("Unterminated")
        return at, not open_string and error.pos < len(text) - _EDGE
    except RecursionError:
        return at, True


class Plan(NamedTuple):
    """The calls in a reply up to some index."""

    until: tuple[int, bool] = (-1, False)
    """The index, and whether the reply ends there."""
    calls: Mapping[int, tuple[int, int]] = MappingProxyType({})
    """For each call, by the index after its name: its end, and the same index of a call that
    follows directly, or 0."""

    def run(self, begin: int) -> Iterator[int]:
        """The ends of a call and of those that follow it directly."""
        while begin in self.calls:
            end, begin = self.calls[begin]
            yield end


class Scan:
    """The tokens of one format in a growing reply: each part of it is examined once.

    Positions refer to the whole reply, of which a reader gets a part.
    """

    def __init__(self, spec: CallFormat) -> None:
        self._tokens = tokens_of(spec)
        self._found: list[_Found] = []
        self._begin = self._end = 0
        """The range that was examined and will not change."""
        self.plan = Plan()
        """The latest plan."""
        self._said: dict[tuple[int, int], bool] = {}

    def tokens(self, text: str, at: int, start: int) -> list[Token]:
        """The tokens in `text` from `at` on; the text starts at `start` of the reply."""
        begin, limit = start + at, start + len(text) - _EDGE
        in_step = self._in_step(begin)
        known, resume = self._known(begin, min(limit, self._end)) if in_step else ([], begin)
        new = [_moved(item, start) for item in self._tokens.found(text, resume - start)]
        if limit > self._end or not in_step:
            self._found = [*known, *new]
            self._begin, self._end = begin, max(begin, limit)
        return [_moved(item, -start).token for item in (*known, *new)]

    def _in_step(self, begin: int) -> bool:
        """Whether a search that starts at `begin` would find the same tokens."""
        within = (item for item in self._found if item.token.start < begin < item.after)
        return self._begin <= begin <= self._end and next(within, None) is None

    def _known(self, begin: int, limit: int) -> tuple[list[_Found], int]:
        """The final tokens from `begin` to `limit`, and where the search continues."""
        known: list[_Found] = []
        for item in self._found:
            if item.token.start < begin:
                continue
            if item.after > limit or not item.sure:
                return known, min(item.token.start, max(begin, limit))
            known.append(item)
        return known, max(begin, limit, known[-1].after if known else 0)

    def once(self, start: int, end: int, finds_out: Callable[[], bool]) -> bool:
        """The result of `finds_out` for this part of the reply, cached."""
        if (start, end) not in self._said:
            self._said[start, end] = finds_out()
        return self._said[start, end]


def _moved(item: _Found, by: int) -> _Found:
    token = item.token
    moved = token._replace(start=token.start + by, end=token.end + by)
    return item._replace(token=moved, after=item.after + by)


class Memory:
    """The findings in one reply, for all formats."""

    def __init__(self) -> None:
        self._scans: dict[CallFormat, Scan] = {}

    def of(self, spec: CallFormat) -> Scan:
        """The findings for one format."""
        if spec not in self._scans:
            self._scans[spec] = Scan(spec)
        return self._scans[spec]
