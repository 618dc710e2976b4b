"""Citations of results that a text quotes, word by word. Pure.

A citation says that the text is in the page. So only what is exactly in a result is cited: a
passage in quotation marks or in a quote of Markdown, or a whole sentence of the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from plugway_translation import PREFIX

MAX_CITATIONS: Final = 10
"""Maximum number of citations of one text block."""
MAX_CITED: Final = 150
"""Characters of `cited_text`, as in Anthropic's documentation."""
MAX_TEXT: Final = 100_000
_MIN_QUOTE: Final = 20
_MIN_SENTENCE: Final = 40
_SPACE: Final = re.compile(r"\s+")
_MAX_QUOTES: Final = 100
_MAX_LOOKUPS: Final = 50
"""Sentences of one source that are searched for in the whole text."""
_QUOTES: Final = re.compile(r'"([^"\n]{20,1000})"|“([^“”\n]{20,1000})”|«([^«»\n]{20,1000})»')
_MARKED: Final = re.compile(r"(?m)^> ?(.{20,1000})$")
_SENTENCE: Final = re.compile(r"[^.!?\n]+[.!?]?")


@dataclass(frozen=True, slots=True)
class Source:
    """A result that may be quoted."""

    url: str
    title: str
    text: str


def citations_in(text: str, sources: Sequence[Source]) -> list[dict[str, Any]]:
    """`web_search_result_location` of each source that `text` quotes, once per source."""
    if not sources or len(text) > MAX_TEXT:
        return []
    plain = _plain(text)
    quotes = [_plain(next(filter(None, m.groups()))) for m in _QUOTES.finditer(text)]
    quotes += [_plain(m[1]) for m in _MARKED.finditer(text)]
    quotes = quotes[:_MAX_QUOTES]
    starts = {plain[at : at + _MIN_SENTENCE] for at in range(len(plain))}
    found: list[dict[str, Any]] = []
    for source in sources:
        cited = _cited(plain, starts, quotes, _plain(source.text[:MAX_TEXT]))
        if cited and len(found) < MAX_CITATIONS:
            found.append(
                {
                    "type": "web_search_result_location",
                    "url": source.url,
                    "title": source.title or None,
                    "cited_text": cited[:MAX_CITED],
                    "encrypted_index": PREFIX,
                }
            )
    return found


def _cited(text: str, starts: Set[str], quotes: Sequence[str], source: str) -> str:
    """The first passage of `source` that is quoted; empty if none is. Only sentences of which
    `starts` has the start can be in `text`."""
    for quote in quotes:
        if len(quote) >= _MIN_QUOTE and quote in source:
            return quote
    likely = (one for one in _sentences(source) if one[:_MIN_SENTENCE] in starts)
    return next((one for one in islice(likely, _MAX_LOOKUPS) if one in text), "")


def _sentences(source: str) -> Iterator[str]:
    whole = (match[0].strip() for match in _SENTENCE.finditer(source))
    return (sentence for sentence in whole if len(sentence) >= _MIN_SENTENCE)


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
