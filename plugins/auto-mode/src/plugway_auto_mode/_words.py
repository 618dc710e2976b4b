"""Values that a shell command consists of: words, redirects, simple commands, scripts."""

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
    """A piece of a word: text that the shell takes as it is, or something it fills in."""

    kind: Kind
    text: str = ""
    """The text; for a variable its name."""
    commands: tuple[int, int] = (0, 0)
    """For a substitution, its commands as a range of `Script.commands`."""
    values: tuple[Word, ...] = ()
    """For the variable of a `for` loop, the words that it takes."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word after bash's unquoting; what the shell fills in stands as `$NAME` or `$()`."""

    source: str
    parts: tuple[Part, ...]
    text: str = field(init=False, default="")
    static: bool = field(init=False, default=True)
    """Whether `text` is what the program gets."""
    glob: bool = field(init=False, default=False)
    brace: bool = field(init=False, default=False)
    tilde: bool = field(init=False, default=False)
    dynamic: bool = field(init=False, default=False)
    """Whether a variable, a substitution or something unknown is part of it."""

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
    """A word of which the program gets exactly this text."""
    return Word(text, (Part("quoted", text),))


def unquote(text: str) -> Iterable[Part]:
    """An unquoted run of a word: backslashes taken off, what they protected is quoted."""
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
    """One simple command; `words` is empty where there are only assignments or redirects."""

    words: tuple[Word, ...]
    source: str
    assignments: tuple[Assignment, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    piped_from: tuple[int, int] | None = None
    """The commands before it in its pipeline, as a range of `Script.commands`."""
    stdin: Word | None = None
    """The text of the here-document or here-string that it reads, also around a group."""
    moved: int = -1
    """The last command before it, in its shell, that changed the folder; -1 for none."""


@dataclass(frozen=True, slots=True)
class Script:
    """What a command line consists of."""

    commands: tuple[Command, ...]
    functions: tuple[str, ...] = ()
    unclear: str = ""
    """Why nothing can be shown about the whole; empty where everything was understood."""
