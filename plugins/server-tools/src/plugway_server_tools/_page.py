"""HTML as readable text with its headings, lists and links. Pure, and linear in the page's size.

A small scanner, not a parser that builds a tree: trees let a hostile page cost minutes (measured
on 1 MB: a lexbor binding with 200,000 nested elements, libxml2 with 100,000 attributes), and a
thread that parses cannot be stopped. Tokens as in https://html.spec.whatwg.org/#tokenization.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import urljoin

from plugway_server_tools._providers import link_of, unescaped

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,30}")
_END_OR_QUOTE: Final = re.compile(r"""[>]|=\s*["']""")
_HREF: Final = re.compile(r"""\shref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_RAW: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "noscript", "template", "iframe", "svg")
}
"""Elements whose content is skipped in one step, or is text."""
_HIDDEN: Final = frozenset(
    ("nav", "footer", "aside", "select", "button", "dialog", "object", "math")
)
_PARAGRAPHS: Final = frozenset(
    ("p", "div", "section", "article", "main", "header", "ul", "ol", "dl", "table", "blockquote")
) | frozenset(("pre", "form", "figure", "hr", "address", "fieldset", "body"))
_LINES: Final = frozenset(("br", "tr", "dt", "dd", "figcaption", "summary", "details"))
_MAIN: Final = frozenset(("main", "article"))
_MIN_MAIN: Final = 200
"""Characters that make the main part of a page stand for the whole."""
_MAX_HREF: Final = 2_048
_MAX_LINKS: Final = 2_000
_MAX_TEXT: Final = 2 * 2**20
"""Characters after which the rest of a page is not read."""
_MAX_TOKENS: Final = 250_000
"""Tags and texts of a page that are read: more than large pages have, and about a second."""
_KEPT: Final = "\ue000"
"""Stands for a space of preformatted text until the end."""
_BLANK: Final = re.compile(r"[^\S\n]+")
_BREAKS: Final = re.compile(r" *\n *")
_MANY: Final = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Page:
    """The readable part of a page."""

    title: str
    text: str


def readable(source: str, base: str) -> Page:
    """The text of an HTML page; `base` is its URL, to which its links are relative."""
    reader = _Reader(base)
    for kind, name, value in islice(_tokens(source), _MAX_TOKENS):
        reader.feed(kind, name, value)
        if reader.size > _MAX_TEXT:
            break
    return Page(_tidy(reader.title), reader.text())


def _tokens(source: str) -> Iterator[tuple[str, str, str]]:
    """("text", "", text), ("start", name, attributes), ("end", name, ""), ("raw", name, content).
    Every character is looked at a fixed number of times."""
    at = 0
    while (found := source.find("<", at)) >= 0:
        if found > at:
            yield "text", "", source[at:found]
        name = _NAME.match(source, found + 1)
        if name is not None:
            end = _end_of_tag(source, name.end())
            tag = name[0].lower()
            if tag in _RAW:
                close = _RAW[tag].search(source, end)
                stop = close.start() if close else len(source)
                yield "raw", tag, source[end:stop]
                end = _after(source, ">", stop)
            else:
                yield "start", tag, source[name.end() : end]
            at = end
        elif (closing := _NAME.match(source, found + 2)) and source[found + 1] == "/":
            yield "end", closing[0].lower(), ""
            at = _after(source, ">", found)
        elif source.startswith("<!--", found):
            at = _after(source, "-->", found + 2)
        elif source[found + 1 : found + 2] in ("!", "?", "/"):
            at = _after(source, ">", found)
        else:
            yield "text", "", "<"
            at = found + 1
    yield "text", "", source[at:]


def _after(source: str, text: str, at: int) -> int:
    """The position after the next `text`, or the end."""
    found = source.find(text, at)
    return len(source) if found < 0 else found + len(text)


def _end_of_tag(source: str, at: int) -> int:
    """The position after the `>` that is in no quoted value, or the end."""
    while found := _END_OR_QUOTE.search(source, at):
        if found[0] == ">":
            return found.end()
        at = _after(source, found[0][-1], found.end())
    return len(source)


class _Reader:
    """Collects the text of a page."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.title = ""
        self._parts: list[str] = []
        self._main: list[str] = []
        self._hidden: dict[str, int] = {}
        """Open elements whose text is left out, and how many of each."""
        self._mains = 0
        self._pre = 0
        self._link = ""
        self._links = 0
        self.size = 0
        """Characters so far."""

    def feed(self, kind: str, name: str, value: str) -> None:
        """Add one token."""
        if kind == "raw":
            if name == "title" and not self.title:
                self.title = unescaped(value[:1_000])
        elif kind == "text":
            if not self._hidden:
                value = unescaped(value)
                self._add(value.replace(" ", _KEPT) if self._pre else value.replace("\n", " "))
        elif name in _HIDDEN:
            self._hide(name, 1 if kind == "start" else -1)
        elif not self._hidden:
            self._start(name, value) if kind == "start" else self._end(name)

    def text(self) -> str:
        """The main part if there is one, else all."""
        main = _tidy("".join(self._main))
        return main if len(main) >= _MIN_MAIN else _tidy("".join(self._parts))

    def _hide(self, name: str, by: int) -> None:
        count = self._hidden.get(name, 0) + by
        if count > 0:
            self._hidden[name] = count
        else:
            self._hidden.pop(name, None)

    def _start(self, name: str, attributes: str) -> None:
        self._mains += name in _MAIN
        if name == "a":
            self._link = self._target(attributes)
            self._add("[" if self._link else "")
        elif name == "li":
            self._add("\n- ")
        elif name in ("td", "th"):
            self._add(" | ")
        elif name[0] == "h" and name[1:].isdigit():
            self._add(f"\n\n{'#' * min(int(name[1:]), 6)} ")
        else:
            self._break(name)
        self._pre += name == "pre"

    def _end(self, name: str) -> None:
        if name == "a" and self._link:
            self._add(f"]({self._link})")
            self._link = ""
        elif name[0] == "h" and name[1:].isdigit():
            self._add("\n\n")
        else:
            self._break(name)
        self._pre = max(0, self._pre - (name == "pre"))
        self._mains = max(0, self._mains - (name in _MAIN))

    def _break(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self._add("\n\n")
        elif name in _LINES:
            self._add("\n")

    def _target(self, attributes: str) -> str:
        found = _HREF.search(attributes[: 2 * _MAX_HREF])
        href = unescaped(next(filter(None, found.groups()), "") if found else "").strip()
        if not href or href.startswith("#") or self._links == _MAX_LINKS:
            return ""
        self._links += 1
        try:
            url = urljoin(self._base, href)
        except ValueError:
            return ""
        return link_of(url) if ")" not in url else ""

    def _add(self, text: str) -> None:
        self.size += len(text)
        self._parts.append(text)
        if self._mains:
            self._main.append(text)


def _tidy(text: str) -> str:
    text = _BLANK.sub(" ", text)
    text = _MANY.sub("\n\n", _BREAKS.sub("\n", text)).strip()
    return text.replace(_KEPT, " ")
