"""The texts that mean something in the replies of one family, and the search for them.

What they mean for a reply is for `_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache

from plugway_toolcalls._families._base import CallFormat, Family


class Markers:
    """All literals that mean something in text, and the search for them."""

    def __init__(self, family: Family, tools: Collection[str]) -> None:
        """`tools` are the names of those that may be called."""
        self._reasoning: dict[str, list[str]] = {}
        for opening, close in family.reasoning:
            self._reasoning.setdefault(opening, []).append(close)
        self.reasoning_ends = {close for _, close in family.reasoning}
        self.calls: dict[str, list[CallFormat]] = {}
        self.names: dict[str, str] = {}
        """The tool that a marker names."""
        self.noise = set(family.noise)
        """Markers without meaning."""
        if (lines := family.recipients) is not None:
            self.noise.add(f"{lines.opening}{lines.text}\n")
            self.names = {f"{lines.opening}{name}\n": name for name in tools}
        for spec in family.calls if tools else ():
            named = [mark for mark in self.names if mark.startswith(spec.opening)]
            for mark in filter(None, named or [spec.opening]):
                named_spec = replace(spec, head=r"\s*") if named else spec
                self.calls.setdefault(mark, []).append(named_spec)
        header = family.header
        self.headers = set(header.openings) if header else set[str]()
        self.header_ends = tuple(family.stops) + (header.openings if header else ())
        known = [*self._reasoning, *self.reasoning_ends, *self.calls, *self.headers]
        self._all = tuple({*known, *self.noise, *family.stops} - {""})
        self._longest = max(map(len, self._all), default=0)
        ordered = sorted(self._all, key=lambda marker: (-len(marker), marker))
        # Without any marker the pattern must find nothing, and not the empty text everywhere.
        self._pattern = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

    def begun_by(self, prompt: str, reply: str, *, final: bool) -> bool | None:
        """Whether the end of the prompt and the reply begin with a marker together; None: maybe."""
        text = prompt + reply
        if text.startswith(self._all):
            return True
        return None if not final and any(mark.startswith(text) for mark in self._all) else False

    def closes_of(self, marker: str) -> tuple[str, ...]:
        """The closing markers, where `marker` opens reasoning."""
        return tuple(self._reasoning.get(marker, ()))

    def search(self, text: str, final: bool) -> re.Match[str] | int:
        """The first marker, or up to where `text` surely holds none."""
        found = self._pattern.search(text)
        if found is None:
            return len(text) - begun_at_end(text, self._all, final)
        rest = text[found.start() : found.start() + self._longest]
        longer = (m for m in self._all if len(m) > len(found[0]) and m.startswith(rest))
        return found.start() if not final and any(longer) else found


def first_of(text: str, markers: tuple[str, ...]) -> tuple[int, str]:
    """Where the first of `markers` stands, and which it is; empty: none does."""
    found = [(at, -len(m), m) for m in markers if (at := text.find(m)) >= 0]
    at, _, marker = min(found, default=(0, 0, ""))
    return at, marker


def begun_at_end(text: str, markers: tuple[str, ...], final: bool) -> int:
    """Length of the longest end of `text` that may be the beginning of a marker."""
    if final:
        return 0
    begun = _beginnings(markers)
    longest = min(max(map(len, markers), default=1) - 1, len(text))
    sizes = range(longest, 0, -1)
    return next((size for size in sizes if text[len(text) - size :] in begun), 0)


@lru_cache
def _beginnings(markers: tuple[str, ...]) -> frozenset[str]:
    return frozenset(marker[:size] for marker in markers for size in range(1, len(marker)))
