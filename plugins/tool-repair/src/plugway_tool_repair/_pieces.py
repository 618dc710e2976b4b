"""What a text is read as, piece by piece; see `_prose`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Text:
    """Visible text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning that was written as text."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that were written as text, and that text."""

    calls: tuple[tuple[str, str], ...]
    source: str
    quoted: bool
    """Whether it is in a Markdown fence after other text: a call only if no more text follows."""
    sure: bool
    """Whether it is between markers that are used for calls only."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A call that was written as text and cut off."""

    name: str
    """The tool's name, as far as it is known."""
    source: str
    sure: bool
    """The same as in `Calls`."""


@dataclass(frozen=True, slots=True)
class Unread:
    """An unreadable call between markers for calls; it follows as text."""

    name: str
    """The named tool."""
    source: str
    """The start of its text."""


Piece = Text | Thinking | Calls | Cut | Unread
