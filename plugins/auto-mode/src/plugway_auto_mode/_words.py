"""The parts of a shell command: words, redirects, simple commands, scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["plain", "quoted", "ansi", "variable", "loop", "commands", "unclear"]

_GLOB = re.compile(r"[*?\[]|[@!+]\(")
_BRACE = re.compile(r"\{[^\n]*(?:,|\.\.)[^\n]*\}")
_TILDE = re.compile(r"(?:^|[=:])~")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word: literal text, or an expansion."""

    kind: Kind
    text: str = ""
    """The text; the name of a variable."""
    commands: tuple[int, int] = (0, 0)
    """Commands of a substitution, as a range of `Script.commands`."""
    values: tuple[Word, ...] = ()
    """Values of the variable of a `for` loop."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word after bash's unquoting; expansions are shown as `$NAME` or `$()`."""

    source: str
    parts: tuple[Part, ...]
    text: str = field(init=False, default="")
    static: bool = field(init=False, default=True)
    """Whether the program gets exactly `text`."""
    glob: bool = field(init=False, default=False)
    brace: bool = field(init=False, default=False)
    tilde: bool = field(init=False, default=False)
    dynamic: bool = field(init=False, default=False)
    """Whether it contains a variable, a substitution or an unknown part."""

    def __post_init__(self) -> None:
        plain = "".join(part.text if part.kind == "plain" else "\0" for part in self.parts)
        marks = {
            "text": "".join(_shown(part) for part in self.parts),
            "glob": _GLOB.search(plain) is not None,
            "brace": "{" in plain and _BRACE.search(plain) is not None,
            "tilde": "~" in plain and _TILDE.search(plain) is not None,
            "dynamic": any(part.kind not in ("plain", "quoted", "ansi") for part in self.parts),
        }
        marks["static"] = not any(marks[name] for name in ("glob", "brace", "tilde", "dynamic"))
        for name, value in marks.items():
            object.__setattr__(self, name, value)

    @property
    def substitutions(self) -> tuple[tuple[int, int], ...]:
        """Ranges of the commands whose output is part of this word."""
        return tuple(part.commands for part in self.parts if part.kind == "commands")


def _shown(part: Part) -> str:
    if part.kind in ("plain", "quoted", "ansi"):
        return part.text
    return "$" + part.text if part.kind in ("variable", "loop") else "$()"


def plain_word(text: str) -> Word:
    """A word that the program gets exactly as it is."""
    return Word(text, (Part("quoted", text),))


def unquote(text: str) -> Iterable[Part]:
    """An unquoted part of a word: backslashes are removed, and the characters after them quoted."""
    at = 0
    for found in _ESCAPED.finditer(text):
        if found.start() > at:
            yield Part("plain", text[at : found.start()])
        yield Part("quoted", found[1])
        at = found.end()
    if at < len(text):
        yield Part("plain", text[at:])


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirection; the target of a here-document or here-string is its text."""

    operator: str
    target: Word
    descriptor: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name=value` before a command or instead of one."""

    name: str
    value: Word


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command; `words` is empty if there are only assignments or redirects."""

    words: tuple[Word, ...]
    source: str
    assignments: tuple[Assignment, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    piped_from: tuple[int, int] | None = None
    """The previous commands of its pipeline, as a range of `Script.commands`."""
    stdin: Word | None = None
    """Text of the here-document or here-string that it reads, also around a group."""
    moved: int = -1
    """Index of the previous command in its shell that changed the folder; -1 if none."""


@dataclass(frozen=True, slots=True)
class Script:
    """The contents of a command line."""

    commands: tuple[Command, ...]
    functions: tuple[str, ...] = ()
    unclear: str = ""
    """Why nothing is known about the whole; empty if everything was understood."""
