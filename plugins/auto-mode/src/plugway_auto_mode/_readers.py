"""Whether a program with its words is known to only read, inside the working folder.

The allowed words of each program are in `rules.yaml`; other calls stay undecided.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from plugway_auto_mode._calls import Call
from plugway_auto_mode._doubts import can_be_option, splits, test_doubt, words_doubt
from plugway_auto_mode._finding import Place
from plugway_auto_mode._given import Given, given_words
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
_AWK: Final = re.compile(
    r"system|getline|[|>@`]|\bclose\b|\bfflush\b|ENVIRON|ARG[VC]|FILENAME\s*=|\bprintf?\s*>"
)
_SETTING: Final = re.compile(
    r"(?i)(?:user\.(?:name|email)|(?:core|init|pull|push|merge|diff|branch|color|fetch|rebase|status)"
    r"\.[\w./-]+|remote\.[\w.-]+\.(?:url|fetch))"
)
_MODULES: Final = re.compile(r"\b(?:include|import)\b")
_QUIET: Final = frozenset(("break", "continue", "exit", "return", "shift", "wait"))


class ReaderCheck:
    """Finds out why a call is not known to be harmless."""

    def __init__(self, script: Script, place: Place) -> None:
        self._script = script
        self._place = place

    def problem(self, call: Call, moved: Moved) -> str:
        """Why the call is undecided, in a few words; empty if it is harmless."""
        if call.doubt:
            return f"{call.doubt} around it is not known to be harmless"
        words = call.words
        if call.program in ("[", "test", "[["):
            return test_doubt(call.program, call.args)
        if call.program in ("cd", "pushd") or call.program in _QUIET or call.program == "set":
            return self._shell_word(call)
        if call.program == "jq" and any(_MODULES.search(text) for text in words):
            return "its script reads other files"
        if call.program == "printf" and not _prints(call):
            return "where it prints to is unknown"
        if len(words) == 1 and call.program in known().versions.get(words[0], ()):
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
            return "" if call.args and plain else "it changes shell settings"
        if call.program in _QUIET:
            plain = all(re.fullmatch(r"\d+|\$[?!]", text) for text in call.words)
            return "" if plain else "its words are unknown"
        if len(call.args) != 1 or not call.args[0].static:
            return "it goes to an unknown folder"
        where = locate(call.args[0].text, self._place)
        return "" if where in ("inside", "whole") else "it leaves the working folder"

    # ── readers of `rules.yaml` ──────────────────────────────────────────────────────────────

    def _reader(self, reader: Reader, args: Sequence[Word], call: Call, moved: Moved) -> str:
        if not reader.any_option and any(can_be_option(word) for word in args):
            return "its words could be options"
        given = given_words(reader, args)
        if problem := given.problem or words_doubt(args if not call.fed else ()):
            return problem
        if reader.operands in ("text", "none", "dates"):
            return _plain(reader, given.operands)
        if moved:
            return "it follows a `cd`"
        if reader.operands in ("static", "listing", "settings"):
            return _named(reader, given) or self._static(given.operands)
        if not self._place.cwd:
            return "the working folder is unknown"
        return self._files(reader, given, moved)

    def _files(self, reader: Reader, given: Given, moved: Moved) -> str:
        operands = given.operands
        if reader.operands == "one" and len(operands) > 1:
            return "it may write a file"
        if reader.operands == "pattern" and not reader.patterns & given.options:
            if operands and splits(operands[0]):
                return "its pattern is unknown"
            operands = operands[1:]
        return self._paths([*operands, *given.paths], reader, moved)

    def _static(self, operands: Sequence[Word]) -> str:
        for word in operands:
            if not word.static:
                return "its words are unknown"
            if secrets().find(word):
                return "the file may contain secrets"
            is_path = word.text.startswith(("/", "~", "../")) or "/.." in word.text
            if (is_path or word.text == "..") and locate(word.text, self._place) != "inside":
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
            return "the file may contain secrets" if contents else ""
        only = word.parts[0] if len(word.parts) == 1 else None
        if only is not None and only.kind == "loop":
            return self._loop(word, only.values, contents, moved)
        if only is not None and only.kind == "commands":
            if only.text == "process_substitution":
                return ""  # what it runs is checked as separate commands
            start, end = only.commands
            return "" if self._gives_names(start, end) else "its paths are unknown"
        if word.dynamic or word.brace or word.tilde:
            return "a path is unknown before it runs"
        if word.glob and contents:
            return "a pattern may match any file"
        where = locate(word.text, self._place, moved)
        if where in ("inside", "whole", "device"):
            return ""
        outside = where == "outside"
        return "it reads outside the working folder" if outside else "a path is unknown"

    def _loop(self, word: Word, values: Sequence[Word], contents: bool, moved: Moved) -> str:
        for value in values:
            if value.text.startswith("-") or (splits(word) and re.search(r"\s", value.text)):
                return "its words could be options"
            if problem := self._path(value, contents, moved):
                return problem
        return ""

    def _gives_names(self, start: int, end: int) -> bool:
        """Whether commands print only names of files in the working folder."""
        commands = self._script.commands[start:end]
        return bool(commands) and all(
            self._names(one, first=i == 0) for i, one in enumerate(commands)
        )

    def _names(self, command: Command, *, first: bool) -> bool:
        words = [word.text for word in command.words]
        if not words or any(map(_names_secrets, command.words)):
            return False
        if first and words[0] == "find":
            runs = known().find.runs
            return not any(w in ("-printf", "-ls") or w in runs for w in words)
        if first and words[0] == "ls" and any(re.match(r"-\w*[aAl]|--", w) for w in words):
            return False
        for subcommand, reader in readers().get(words[0], ()):
            if tuple(words[1 : 1 + len(subcommand)]) == subcommand:
                listed = "always" in reader.names or bool(reader.names & set(words))
                return listed if first else reader.filter
        return False

    # ── programs with their own language ─────────────────────────────────────────────────────

    def _special(self, call: Call, moved: Moved) -> str:
        if moved:
            return "it follows a `cd`"
        if not self._place.cwd:
            return "the working folder is unknown"
        if call.program == "find":
            return self._find(call)
        if any(can_be_option(word) for word in call.args):
            return "its words could be options"
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
            if text in rules.texts or text in rules.paths:
                at += 1
                if problem := self._find_value(words[at : at + 1], is_path=text in rules.paths):
                    return problem
            elif text in rules.runs:
                end = next((i for i in range(at, len(words)) if words[i].text in (";", "+")), None)
                if end is None or end == at + 1 or any(map(_names_secrets, words)):
                    return "what it runs is unknown"
                at = end  # what it runs is checked as a separate call
            elif text not in rules.plain:
                return "part of its expression may write or is unknown"
            at += 1
        return ""

    def _find_value(self, words: Sequence[Word], *, is_path: bool) -> str:
        if is_path:
            return next(filter(None, (self._path(word, False, "") for word in words)), "")
        unknown = any(splits(word) or word.text in ("*", "-*") for word in words)
        return "part of its expression is unknown" if unknown else ""


def _names_secrets(word: Word) -> bool:
    """Whether a pattern of `find` or `grep` may match files with secrets."""
    return bool(secrets().in_text(word.text[:200], wild=word.text.startswith(".")))


def _prints(call: Call) -> bool:
    """Whether `printf` starts with a format, and has no option that sets a variable."""
    args = call.args[1:] if call.words[:1] == ("--",) else call.args
    return bool(args) and args[0].static and not args[0].text.startswith("-")


_LISTS: Final = frozenset(("-l", "--list", "--contains"))


def _plain(reader: Reader, operands: Sequence[Word]) -> str:
    """Operands that are not paths."""
    if any(word.glob and word.text[:1] in ("/", "~", ".") for word in operands):
        return "it lists an unknown folder"
    if reader.operands == "none":
        extra = [word.text for word in operands if word.text not in reader.words]
        return "it has more operands than it accepts" if extra else ""
    if reader.operands == "dates":
        plain = all(word.text.startswith("+") for word in operands)
        return "" if plain else "it may set the time"
    return ""


def _named(reader: Reader, given: Given) -> str:
    """Operands that name branches, commits or settings."""
    if reader.operands == "settings":
        plain = all(_SETTING.fullmatch(word.text) for word in given.operands)
        return "" if plain else "the setting may contain a secret"
    creates = reader.operands == "listing" and not given.options & _LISTS
    return "it may create something" if creates and given.operands else ""


def found_calls(call: Call) -> list[tuple[Word, ...]]:
    """The commands that `find` runs; its results are a word that names one of its own files."""
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
    """The script of `sed` or `awk` and the files; or why they are unknown."""
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
    """The words after git's own harmless options, including `-C` into the working folder."""
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


def is_safe_assignment(name: str, value: Word) -> bool:
    """Whether a variable of this name and value only changes how output is displayed."""
    if name in ("", "_") or name_pattern(known().variables.safe).fullmatch(name):
        return not value.dynamic
    return f"{name}={value.text}" in known().variables.exact
