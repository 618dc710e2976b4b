"""The rules as data: the contents of `rules.yaml`, validated, and the user's additions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from plugway_auto_mode._paths import Secrets
from plugway_auto_mode._words import Word

Operands = Literal[
    "paths", "text", "static", "pattern", "one", "none", "dates", "listing", "settings"
]


def _split(value: object) -> object:
    return frozenset(value.split()) if isinstance(value, str) else value


Options = Annotated[frozenset[str], BeforeValidator(_split)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Reader(_Data):
    """A command that only reads, and its restrictions; `rules.yaml` explains the fields."""

    options: Options
    texts: Options = frozenset()
    operands: Operands = "paths"
    patterns: Options = frozenset()
    words: Options = frozenset()
    names: Options = frozenset()
    contents: bool = False
    filter: bool = False

    @property
    def any_option(self) -> bool:
        """Whether no option of the program can write or execute."""
        return "any" in self.options


class Danger(_Data):
    """Commands that are known to be harmful, always or with one of the words `with`."""

    run: tuple[str, ...]
    having: tuple[str, ...] = Field(default=(), alias="with")
    unless: tuple[str, ...] = ()
    bare: bool = False
    because: str


class Code(_Data):
    """A pattern in code for an interpreter, and the effect of such code."""

    pattern: re.Pattern[str]
    because: str


class FindRules(_Data):
    """The words of `find`'s expressions, by what follows them."""

    plain: frozenset[str]
    texts: frozenset[str]
    paths: frozenset[str]
    runs: frozenset[str]
    writes: frozenset[str]


class SecretNames(_Data):
    """Ends of paths that contain credentials."""

    anywhere: tuple[str, ...]
    local: tuple[str, ...]
    safe: tuple[str, ...]


class Variables(_Data):
    """Names of environment variables, by what they change."""

    safe: tuple[str, ...]
    exact: frozenset[str]
    undecided: tuple[str, ...]
    runs: tuple[str, ...]


class Writes(_Data):
    """Programs, by which of their operands they write to."""

    all: frozenset[str]
    last: frozenset[str]


class Appends(_Data):
    """Names of text files that a command may append to."""

    endings: frozenset[str]
    never: tuple[str, ...]


class Known(_Data):
    """The contents of `rules.yaml`."""

    versions: dict[str, frozenset[str]]
    readers: dict[str, Reader]
    tests: frozenset[str]
    comparisons: frozenset[str]
    find: FindRules
    secrets: SecretNames
    secret_variables: re.Pattern[str]
    variables: Variables
    code: tuple[Code, ...]
    shells: frozenset[str]
    interpreters: frozenset[str]
    writes: Writes
    appends: Appends
    deletes: frozenset[str]
    harmful: tuple[Danger, ...]


@cache
def known() -> Known:
    """The rules of this package.

    Raises:
        pydantic.ValidationError: `rules.yaml` has an unknown key or a value of the wrong type.
    """
    text = files("plugway_auto_mode").joinpath("rules.yaml").read_text(encoding="utf-8")
    return Known.model_validate(yaml.safe_load(text))


@cache
def secrets() -> Secrets:
    """The places of credentials, compiled for searching."""
    names = known().secrets
    return Secrets(names.anywhere, names.local, names.safe)


@cache
def dangers() -> dict[str, tuple[tuple[tuple[str, ...], Danger], ...]]:
    """By program: the words of the command after the program, and the rule."""
    found: dict[str, list[tuple[tuple[str, ...], Danger]]] = {}
    for danger in known().harmful:
        for run in danger.run:
            program, *words = run.split()
            found.setdefault(program, []).append((tuple(words), danger))
    return {program: tuple(each) for program, each in found.items()}


@cache
def readers() -> dict[str, tuple[tuple[tuple[str, ...], Reader], ...]]:
    """By program: the words of its subcommand, the longest first, and what is allowed."""
    found: dict[str, list[tuple[tuple[str, ...], Reader]]] = {}
    for name, reader in known().readers.items():
        program, *words = name.split()
        found.setdefault(program, []).append((tuple(words), reader))
    return {
        program: tuple(sorted(each, key=lambda one: -len(one[0])))
        for program, each in found.items()
    }


@cache
def name_pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the names, in which `*` stands for any text."""
    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A command of the user's own rules: words, in which `*` stands for any text.

    A `*` at the end stands for any number of further words; without it there may be none.
    """

    words: tuple[str, ...]
    open_end: bool

    @classmethod
    def read(cls, text: str, option: str) -> Pattern:
        """Parse an entry such as `kubectl get *`.

        Raises:
            ValueError: the text is empty, or its first word is a pattern.
        """
        words = tuple(text.split())
        if not words or "*" in words[0]:
            raise ValueError(
                f"`{option}`: {text!r} must start with the name of a program, for example "
                "`kubectl get *`"
            )
        open_end = words[-1] == "*"
        return cls(words[:-1] if open_end else words, open_end)

    def matches(self, words: Sequence[Word], *, static: bool = True) -> bool:
        """Whether it matches the words of one simple command; `static`: none may be computed."""
        if len(words) < len(self.words) or (len(words) > len(self.words) and not self.open_end):
            return False
        if static and any(word.dynamic for word in words):
            return False
        return all(
            one == word.text or ("*" in one and name_pattern((one,)).fullmatch(word.text))
            for one, word in zip(self.words, words, strict=False)
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """The user's additions to the rules of this package."""

    trust: tuple[Pattern, ...] = ()
    harmless: tuple[Pattern, ...] = ()
    harmful: tuple[Pattern, ...] = ()

    @classmethod
    def build(
        cls,
        trust: Iterable[str] = (),
        harmless: Iterable[str] = (),
        harmful: Iterable[str] = (),
    ) -> Rules:
        """Parse the user's entries; `trust` are the first words of commands that run project code.

        Raises:
            ValueError: an entry has no program name; the message names the option.
        """
        known()
        return cls(
            tuple(Pattern.read(f"{text} *", "trust") for text in trust),
            tuple(Pattern.read(text, "harmless") for text in harmless),
            tuple(Pattern.read(text, "harmful") for text in harmful),
        )
