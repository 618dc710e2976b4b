"""Whether one program with its words is known to only read, inside the working folder.

What each program may be given is in `rules.yaml`; what is not shown to be harmless is open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from plugway_auto_mode._calls import Call
from plugway_auto_mode._finding import Place
from plugway_auto_mode._paths import Moved, locate
from plugway_auto_mode._rules import Reader, known, name_pattern, readers, secrets
from plugway_auto_mode._words import Command, Script, Word, plain_word

_GLOBALS: Final = frozenset(("--no-pager", "-P", "--no-optional-locks"))
_HARMLESS_SET: Final = re.compile(r"[-+](?:[efuxn]+|[efux]*o)|pipefail")
_SED: Final = re.compile(
    r"(?:(?:\d+|\$|/[^/\\\n]*/)(?:,\s*(?:\+?\d+|\$|/[^/\\\n]*/))?!?)?\s*(?:[pdq=]|\{[pdq=]\})"
    r"|s([/|#,:@])(?:(?!\1)[^\\\n]|\\.)*\1(?:(?!\1)[^\\\n]|\\.)*\1[gpIi0-9]*"
)
_SED_OPTIONS: Final = frozenset(
    ("-n", "-E", "-r", "-s", "-z", "-nE", "-En", "-nr", "--quiet", "--silent", "--regexp-extended")
)
_AWK: Final = re.compile(r"system|getline|[|>@`]|\bclose\b|\bfflush\b|ENVIRON|\bprintf?\s*>")
_NUMBER: Final = re.compile(r"[-+]?\d+")
_QUIET: Final = frozenset(("break", "continue", "exit", "return", "shift", "wait", "local"))
_VERSION: Final = frozenset(("--version", "-V", "-v", "version", "-version", "--help"))


@dataclass(slots=True)
class Given:
    """The words of a call, told apart."""

    operands: list[Word] = field(default_factory=list[Word])
    paths: list[Word] = field(default_factory=list[Word])
    """Values of options that are paths."""
    options: set[str] = field(default_factory=set[str])
    problem: str = ""
    """Why they are not those of a reader."""


class ReaderCheck:
    """Says why a call is not known to be harmless; empty where it is."""

    def __init__(self, script: Script, place: Place) -> None:
        self._script = script
        self._place = place

    def problem(self, call: Call, moved: Moved) -> str:
        """Why the call is open, in a few words."""
        if call.doubt:
            return f"{call.doubt} around it is not known to be harmless"
        words = call.words
        if call.program in ("[", "test", "[["):
            return self._test(call)
        if call.program in ("cd", "pushd") or call.program in _QUIET or call.program == "set":
            return self._shell_word(call)
        if call.program in known().versions and len(words) == 1 and words[0] in _VERSION:
            return ""
        if call.program in ("sed", "awk", "gawk", "mawk", "find"):
            return self._special(call, moved)
        args = _without_globals(call, self._place)
        for subcommand, reader in readers().get(call.program, ()):
            if tuple(word.text for word in args[: len(subcommand)]) == subcommand:
                return self._reader(reader, args[len(subcommand) :], call, moved)
        return "it is not known to only read"

    def _shell_word(self, call: Call) -> str:
        if call.program == "set":
            plain = all(_HARMLESS_SET.fullmatch(text) for text in call.words)
            return "" if call.args and plain else "it changes how the shell works"
        if call.program in _QUIET:
            return "" if all(word.static for word in call.args) else "its words are not known"
        if len(call.args) != 1 or not call.args[0].static:
            return "it goes to a folder that is not known"
        where = locate(call.args[0].text, self._place)
        return "" if where in ("inside", "whole") else "it leaves the working folder"

    def _test(self, call: Call) -> str:
        """`[[ a -eq b ]]` evaluates its words as arithmetic, in which commands may stand."""
        allowed = known().tests | known().comparisons
        numbers = not known().comparisons.isdisjoint(call.words)
        for word in call.args:
            if word.text in allowed:
                continue
            if word.text.startswith("-") and not word.dynamic and not _NUMBER.fullmatch(word.text):
                return "a test that is not known"
            filled = word.dynamic and call.program != "[["
            if numbers and not filled and not _NUMBER.fullmatch(word.text):
                return "a test whose values are not known"
        return ""

    # ── readers of `rules.yaml` ──────────────────────────────────────────────────────────────

    def _reader(self, reader: Reader, args: Sequence[Word], call: Call, moved: Moved) -> str:
        given = _given(reader, args)
        if given.problem:
            return given.problem
        if moved and reader.operands not in ("text", "none", "dates"):
            return "a `cd` stands before it"
        if not self._place.cwd and reader.operands in ("paths", "pattern", "one"):
            return "the working folder is not known"
        operands = given.operands
        match reader.operands:
            case "text" | "none" | "dates":
                return _plain(reader, operands)
            case "static" | "listing" | "settings":
                creates = reader.operands == "listing" and not given.options & _LISTS
                return "it may create something" if creates and operands else self._static(operands)
            case "pattern":
                named = reader.patterns & given.options
                operands = operands if named else operands[1:]
            case "one" | "paths":
                if reader.operands == "one" and len(operands) > 1:
                    return "it may write a file"
        return self._paths([*operands, *given.paths], reader, moved)

    def _static(self, operands: Sequence[Word]) -> str:
        for word in operands:
            if not word.static:
                return "its words are not known"
            if word.text.startswith(("/", "~")) and locate(word.text, self._place) != "inside":
                return "it reads outside the working folder"
        return ""

    def _paths(self, words: Sequence[Word], reader: Reader, moved: Moved) -> str:
        for word in words:
            problem = self._path(word, reader.contents, moved)
            if problem:
                return problem
        return ""

    def _path(self, word: Word, contents: bool, moved: Moved) -> str:
        if secrets().find(word):
            return "the file may hold secrets" if contents else ""
        only = word.parts[0] if len(word.parts) == 1 else None
        if only is not None and only.kind == "loop":
            return next(filter(None, (self._path(one, contents, moved) for one in only.values)), "")
        if only is not None and only.kind == "commands":
            if only.text == "process_substitution":
                return ""  # what it runs is looked at as commands of its own
            start, end = only.commands
            return "" if self._gives_names(start, end) else "its paths are not known"
        if word.dynamic or word.brace or word.tilde:
            return "a path is not known before it runs"
        if word.glob and contents:
            return "a pattern may stand for any file"
        where = locate(word.text, self._place, moved)
        if where in ("inside", "whole", "device"):
            return ""
        outside = where == "outside"
        return "it reads outside the working folder" if outside else "a path is not known"

    def _gives_names(self, start: int, end: int) -> bool:
        """Whether commands print nothing but names of files of the working folder."""
        commands = self._script.commands[start:end]
        return bool(commands) and all(
            self._names(one, first=i == 0) for i, one in enumerate(commands)
        )

    def _names(self, command: Command, *, first: bool) -> bool:
        words = [word.text for word in command.words]
        if not words:
            return False
        if first and words[0] == "find":
            return not any(w in ("-printf", "-ls") for w in words)
        for subcommand, reader in readers().get(words[0], ()):
            if tuple(words[1 : 1 + len(subcommand)]) == subcommand:
                listed = "always" in reader.names or bool(reader.names & set(words))
                return listed if first else reader.filter
        return False

    # ── programs with a language of their own ────────────────────────────────────────────────

    def _special(self, call: Call, moved: Moved) -> str:
        if moved:
            return "a `cd` stands before it"
        if not self._place.cwd:
            return "the working folder is not known"
        if call.program == "find":
            return self._find(call)
        found = _script_and_paths(call)
        if isinstance(found, str):
            return found
        script, paths = found
        fits = _sed_reads(script.text) if call.program == "sed" else not _AWK.search(script.text)
        if not script.static or not fits:
            return "its script may write or run something"
        return next(filter(None, (self._path(word, True, moved) for word in paths)), "")

    def _find(self, call: Call) -> str:
        rules, words, at = known().find, call.args, 0
        while at < len(words) and not words[at].text.startswith(("-", "(", "!", "\\")):
            problem = self._path(words[at], False, "")
            if problem:
                return problem
            at += 1
        while at < len(words):
            text = words[at].text
            if text in rules.texts:
                at += 1
            elif text in rules.paths:
                at += 1
                if at < len(words) and (problem := self._path(words[at], False, "")):
                    return problem
            elif text in rules.runs:
                end = next((i for i in range(at, len(words)) if words[i].text in (";", "+")), None)
                if end is None or end == at + 1:
                    return "what it runs is not known"
                at = end  # what it runs is looked at as a call of its own
            elif text not in rules.plain:
                return "part of its expression may write or is not known"
            at += 1
        return ""


_LISTS: Final = frozenset(("-l", "--list", "--contains"))


def _plain(reader: Reader, operands: Sequence[Word]) -> str:
    """Operands that are no paths."""
    if reader.operands == "none":
        extra = [word.text for word in operands if word.text not in reader.words]
        return "it is given more than it takes" if extra else ""
    if reader.operands == "dates":
        plain = all(word.text.startswith("+") for word in operands)
        return "" if plain else "it may set the time"
    return ""


def found_calls(call: Call) -> list[tuple[Word, ...]]:
    """The commands that `find` runs, with its results as a word that is one of its own files."""
    rules, words = known().find, call.args
    found: list[tuple[Word, ...]] = []
    at = 0
    while call.program == "find" and at < len(words):
        if words[at].text in rules.runs:
            end = next(
                (i for i in range(at, len(words)) if words[i].text in (";", "+")), len(words)
            )
            inner = words[at + 1 : end]
            roots = [w for w in words[:1] if not w.text.startswith(("-", "(", "!"))]
            one = plain_word((roots[0].text.rstrip("/") if roots else ".") + "/FOUND")
            found.append(tuple(one if word.text == "{}" else word for word in inner))
            at = end
        at += 1
    return [inner for inner in found if inner]


def _script_and_paths(call: Call) -> tuple[Word, list[Word]] | str:
    """The script of `sed` or `awk` and the files; or why they are not known."""
    words, sed = list(call.args), call.program == "sed"
    script: Word | None = None
    paths: list[Word] = []
    while words:
        word = words.pop(0)
        if word.text in (_SED_OPTIONS if sed else ()) or (not sed and word.text[:2] == "-F"):
            if word.text == "-F" and words:
                words.pop(0)
        elif word.text == ("-e" if sed else "-v") and words:
            value = words.pop(0)
            if sed and script is not None:
                return "more than one script"
            script = value if sed else script
        elif word.text.startswith("-"):
            return f"`{call.program} {word.text[:20]}` is not known to only read"
        elif script is None:
            script = word
        else:
            paths.append(word)
    return "it has no script" if script is None else (script, paths)


def _sed_reads(script: str) -> bool:
    pieces = [piece.strip() for piece in re.split(r"[;\n]", script)]
    return all(_SED.fullmatch(piece) for piece in pieces if piece) or bool(_SED.fullmatch(script))


def _without_globals(call: Call, place: Place) -> tuple[Word, ...]:
    """The words after git's own options that change nothing: `-C` into the working folder too."""
    args = call.args
    while call.program == "git" and args:
        if args[0].text in _GLOBALS:
            args = args[1:]
        elif args[0].text == "-C" and len(args) > 2 and args[1].static:
            if locate(args[1].text, place) not in ("inside", "whole"):
                break
            args = args[2:]
        else:
            break
    return args


def _given(reader: Reader, args: Sequence[Word]) -> Given:
    """Options and operands of a call; with a problem where an option is not among the allowed."""
    given = Given()
    words = list(args)
    while words:
        word = words.pop(0)
        text = word.text
        if text == "--" and word.static:
            given.operands += words
            break
        is_text = reader.operands == "text" and reader.any_option
        if not text.startswith("-") or text == "-" or is_text:
            could_be_option = word.dynamic and word.parts[0].kind not in (
                "plain",
                "quoted",
                "commands",
            )
            if could_be_option and not reader.any_option and word.parts[0].kind != "loop":
                given.problem = "its words are not known"
            given.operands.append(word)
        elif word.dynamic:
            given.problem = given.problem or "an option is not known before it runs"
        elif reader.any_option:
            _any_option(reader, text, words, given)
        else:
            given.problem = given.problem or _strict_option(reader.options, text, words, given)
    return given


def _any_option(reader: Reader, text: str, words: list[Word], given: Given) -> None:
    name, equals, value = text.partition("=")
    given.options.add(name)
    if name + ":" in reader.texts:
        if not equals and words:
            words.pop(0)
    elif equals:
        given.paths.append(plain_word(value))
    elif not text.startswith("--") and ("/" in text or "~" in text):
        given.paths.append(plain_word(text[2:]))


def _strict_option(allowed: frozenset[str], text: str, words: list[Word], given: Given) -> str:
    if text in allowed or (re.fullmatch(r"-\d+", text) and "-1" in allowed):
        given.options.add(text)
        return ""
    unknown = f"the option `{text[:40]}` is not known to only read"
    name, equals, value = text.partition("=")
    given.options.add(name)
    if text.startswith("--"):
        for mark in (":", "="):
            if name + mark in allowed:
                word = plain_word(value) if equals else words.pop(0) if words else None
                if mark == "=" and word is not None:
                    given.paths.append(word)
                return ""
        return unknown
    return _short_options(allowed, text, words, given, unknown)


def _short_options(
    allowed: frozenset[str], text: str, words: list[Word], given: Given, unknown: str
) -> str:
    for at, letter in enumerate(text[1:], start=2):
        option = f"-{letter}"
        given.options.add(option)
        if option in allowed:
            continue
        for mark in (":", "="):
            if option + mark in allowed:
                rest = text[at:]
                word = plain_word(rest) if rest else words.pop(0) if words else None
                if mark == "=" and word is not None:
                    given.paths.append(word)
                return ""
        return unknown
    return ""


def is_safe_assignment(name: str, value: Word) -> bool:
    """Whether a variable of this name and value changes nothing but how something is shown."""
    if name in ("", "_") or name_pattern(known().variables.safe).fullmatch(name):
        return not value.dynamic
    return f"{name}={value.text}" in known().variables.exact
