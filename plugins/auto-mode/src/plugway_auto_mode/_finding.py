"""The verdict on one tool call, and the place where the call would run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["harmless", "harmful", "undecided"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict with its reason."""

    answer: Answer
    reason: str
    """A sentence or clause for the user; contains at most 200 characters of the call."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the client runs the call, as it reports; nothing is looked up on a disk."""

    cwd: str = ""
    """Absolute path of the folder that relative paths start at: one of `roots` or inside one.
    Empty otherwise: then no path is inside."""
    home: str = ""
    """Absolute path of the user's home folder; empty if unknown."""
    platform: str = ""
    """`linux`, `darwin`, `win32`, or another value of the client."""
    roots: tuple[str, ...] = ()
    """Absolute paths of the working folders, which contain the user's project. Never `/` or a
    home."""
    start: str = ""
    """Absolute path of the folder that the client reports, whatever it is: rules about relative
    paths start there."""
    links: tuple[tuple[str, ...], ...] = ()
    """All names of each working folder that symbolic links lead to."""
