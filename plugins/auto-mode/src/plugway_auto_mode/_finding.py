"""What a reviewer says about one tool call, and where the call would run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Answer = Literal["harmless", "harmful", "undecided"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer with its reason."""

    answer: Answer
    reason: str
    """A sentence or half a sentence a person understands; no more than 200 characters of it are
    taken from the call."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the client runs the call, as it said itself; nothing is looked up on a disk."""

    cwd: str = ""
    """Absolute path of the folder that relative paths begin at: one of `roots` or inside of one.
    Empty where it is anything else: then no path is inside."""
    home: str = ""
    """Absolute path of the user's home folder; empty where it is unknown."""
    platform: str = ""
    """`linux`, `darwin`, `win32`, or what else the client says."""
    roots: tuple[str, ...] = ()
    """Absolute paths of the working folders, whose contents are the user's project. Never `/` or a
    home."""
    start: str = ""
    """Absolute path of the folder where the client says it stands, whatever folder that is: rules
    about relative paths begin there."""
    links: tuple[tuple[str, ...], ...] = ()
    """For each working folder that symbolic links lead to, all of its names."""
