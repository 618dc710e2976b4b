"""Verdicts on calls that the gateway runs itself, of tools that this package does not know.

A tool of any server is judged by its arguments: those named like files as `Read` or `Write` of
these files, those named like commands as `Bash`. The user is not there to be asked, so what remains
undecided is left to the configuration.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import orjson

from plugway import as_list, as_object
from plugway_auto_mode import _tools
from plugway_auto_mode._commands import review
from plugway_auto_mode._finding import Finding, Place
from plugway_auto_mode._rules import Rules, secrets
from plugway_tools import ToolCall, ToolSpec, Verdict

MAX_VALUES: Final = 2_000
"""Most values in the arguments of a call that is checked."""
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_FILE: Final = re.compile(r"(?:in|out)?(?:file|path|dir|folder)(?:name|path)?s?")
_FILES: Final = frozenset(
    ("cwd", "destination", "directories", "directory", "repo", "root", "source", "target", "uri")
)
_PLACES: Final = frozenset(
    ("dest", "dst", "from", "location", "log", "out", "output", "save", "src", "to", "where")
)
"""Words in the names of arguments that may hold a file; an absolute path is one."""
_COMMANDS: Final = frozenset(
    (
        *("bash", "binary", "cmd", "cmdline", "command", "commands", "exec", "executable"),
        *("program", "shell"),
    )
)
_ARGUMENTS: Final = ("args", "arguments", "argv", "flags", "options", "parameters", "params")
_TEXTS: Final = frozenset(
    (
        *("code", "content", "contents", "description", "message", "messages", "prompt", "query"),
        *("text", "title"),
    )
)
"""Words in the names of arguments that hold prose or the content of a file."""
_PATH: Final = re.compile(
    r"(?:~|/|\$\{?HOME\b|(?:[a-z-]+:)*file:|[a-z]:[\\/])[^\n]{1,4096}\Z", re.I
)
_RELATIVE: Final = re.compile(r"[^\s/]+/[^\s]{1,4096}\Z")
_URI: Final = re.compile(r"(?:[a-z-]+:)*file:(?://[^/]*)?", re.I)
_WEB: Final = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://(?!.*/\.\./)", re.I | re.S)


def judged(call: ToolCall, spec: ToolSpec, rules: Rules) -> Verdict:
    """The verdict on a call: `denied` if an argument is known to be harmful, `allowed` if the tool
    only reads and every argument is known to be harmless."""
    place = _place(call)
    findings: list[Finding] = []
    for count, (names, value) in enumerate(_values(call.arguments)):
        if count >= MAX_VALUES:
            return Verdict("undecided", "it has too many arguments to check")
        for finding in _findings(names, value, place, spec, rules):
            if finding.answer == "harmful":
                return Verdict("denied", finding.reason)
            findings.append(finding)
    if unsure := next((one for one in findings if one.answer == "undecided"), None):
        return Verdict("undecided", unsure.reason)
    if findings and spec.effect == "read":
        return Verdict("allowed", findings[0].reason)
    return Verdict("undecided", "no rule speaks of this tool")


def _place(call: ToolCall) -> Place:
    roots = tuple(str(root) for root in call.roots)
    cwd = roots[0] if roots else ""
    return Place(cwd, str(Path.home()), sys.platform, roots, cwd)


@dataclass(frozen=True, slots=True)
class _Names:
    """What the name of an argument says about its value."""

    own: frozenset[str] = frozenset()
    """The words of its own name."""
    outer: frozenset[str] = frozenset()
    """The words of the names of the objects that it is in."""

    def inside(self, name: str) -> _Names:
        """The names of a member."""
        return _Names(_words(name), self.own | self.outer)

    @property
    def hold_text(self) -> bool:
        """Whether it holds prose, or the content of a file."""
        return bool(self.own & _TEXTS) and not _is_file(self.own)

    def hold_file(self, value: str) -> bool:
        """Whether it holds a file."""
        if _is_file(self.own):
            return not _WEB.match(value)
        if self.own & _TEXTS or not _PATH.match(value):
            return False
        return bool(self.own & _PLACES) or _is_file(self.outer)


def _words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORDS.findall(name))


def _is_file(words: frozenset[str]) -> bool:
    return bool(words & _FILES) or any(map(_FILE.fullmatch, words))


def _findings(
    names: _Names, value: Any, place: Place, spec: ToolSpec, rules: Rules
) -> Iterator[Finding]:
    """What one value says about the call."""
    if not isinstance(value, str):
        for command in _joined(names, value):
            finding = review(command, place, rules)
            if finding.answer == "harmful":
                yield Finding("harmful", f"a command: {finding.reason}")
    elif names.own & _COMMANDS:
        yield review(value, place, rules)
    elif (finding := _of_file(names, value, place, spec)) is not None:
        yield finding


def _of_file(names: _Names, value: str, place: Place, spec: ToolSpec) -> Finding | None:
    """What the file that an argument names says about the call; None if it names none."""
    value = value.partition("\0")[0].strip()  # as programs read it
    is_file = names.hold_file(value)
    looks = _PATH.match(value) or (_RELATIVE.match(value) and not _WEB.match(value))
    if not is_file and (names.hold_text or not looks):
        return None
    path = _of_uri(value)
    where = secrets().in_text(path)
    if where == "anywhere":
        return Finding("harmful", "it names a file with credentials")
    if not is_file:
        return None
    if not place.roots:
        return Finding("undecided", "the folders that it may use are not known here")
    finding = _tools.review(
        "Read" if spec.effect == "read" else "Write", {"file_path": path or "."}, place
    )
    doubt = where == "local" and finding.answer == "harmless"
    return Finding("undecided", "the file may contain secrets") if doubt else finding


def _of_uri(value: str) -> str:
    found = _URI.match(value)
    return value if found is None else unquote(value[found.end() :])


def _values(arguments: Mapping[str, Any]) -> Iterator[tuple[_Names, Any]]:
    """Every value in the arguments, also those written as JSON text, and keys that are paths."""
    left: list[tuple[_Names, Any]] = [(_Names(), arguments)]
    while left:
        names, value = left.pop()
        yield names, value
        if isinstance(value, str):
            if value.lstrip()[:1] in ("[", "{") and not names.hold_text:
                with suppress(orjson.JSONDecodeError):
                    left.append((names, orjson.loads(value)))
        elif isinstance(value, Mapping):
            for key, inner in as_object(value).items():
                left.append((names.inside(key), inner))
                if "/" in key:
                    left.append((names.inside(""), key))
        else:
            left += [(names, inner) for inner in as_list(value)]


def _joined(names: _Names, value: Any) -> Iterator[str]:
    """Commands whose words are separate values."""
    if names.own & _COMMANDS:
        yield from _command(as_list(value), [])
    given = as_object(value)
    more = [given.get(key) for key in _ARGUMENTS]
    for name, inner in given.items():
        if _words(name) & _COMMANDS:
            yield from _command([inner] if isinstance(inner, str) else as_list(inner), more)


def _command(words: Sequence[Any], more: Sequence[Any]) -> Iterator[str]:
    """A command of words, with its further arguments: a text of several words, or lists."""
    listed = [*map(str, words), *(str(word) for value in more for word in _flat(value))]
    said = [value for value in more if isinstance(value, str)]
    if words and len(listed) + len(said) > 1:
        yield " ".join((listed[0], shlex.join(listed[1:]), *said))


def _flat(value: Any) -> Iterator[Any]:
    for inner in as_list(value):
        yield from as_list(inner) or [inner]
