"""Verdicts on calls that the gateway runs itself, of tools that this package does not know.

A tool of any server is judged by its arguments: those named like files as `Read` or `Write` of
these files, those named like commands as `Bash`. The user is not there to be asked, so what remains
undecided is left to the configuration.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from plugway import as_list
from plugway_auto_mode import _tools
from plugway_auto_mode._commands import review
from plugway_auto_mode._finding import Finding, Place
from plugway_auto_mode._rules import Rules, secrets
from plugway_tools import ToolCall, ToolSpec, Verdict

MAX_STRINGS: Final = 2_000
"""Most texts in the arguments of a call that is checked."""
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_FILES: Final = frozenset(
    (
        *("cwd", "destination", "dir", "directories", "directory", "file", "filename", "filenames"),
        *("filepath", "files", "folder", "folders", "path", "paths", "repo", "root", "source"),
        *("target", "uri"),
    )
)
_COMMANDS: Final = frozenset(("bash", "cmd", "command", "commands", "shell"))
_ARGUMENTS: Final = ("args", "arguments", "argv")
_TEXTS: Final = frozenset(
    (
        *("code", "content", "contents", "description", "message", "messages", "prompt", "query"),
        *("text", "title"),
    )
)
"""Words in the names of arguments that hold prose or the content of a file."""
_PATH: Final = re.compile(r"(?:~|/|file:|[A-Za-z]:[\\/])[^\n]{1,4096}\Z")
_WEB: Final = re.compile(r"(?!file:)[A-Za-z][A-Za-z0-9+.-]+:")


def judged(call: ToolCall, spec: ToolSpec, rules: Rules) -> Verdict:
    """The verdict on a call: `denied` if an argument is known to be harmful, `allowed` if the tool
    only reads and every argument is known to be harmless."""
    place = _place(call)
    findings: list[Finding] = []
    for count, (name, value) in enumerate(_texts("", call.arguments)):
        if count >= MAX_STRINGS:
            return Verdict("undecided", "it has too many arguments to check")
        finding = _finding(name, value, place, spec, rules)
        if finding is not None and finding.answer == "harmful":
            return Verdict("denied", finding.reason)
        findings += [] if finding is None else [finding]
    for command in _joined(call.arguments):
        finding = review(command, place, rules)
        if finding.answer == "harmful":
            return Verdict("denied", f"a command: {finding.reason}")
    if unsure := next((one for one in findings if one.answer == "undecided"), None):
        return Verdict("undecided", unsure.reason)
    if findings and spec.effect == "read":
        return Verdict("allowed", findings[0].reason)
    return Verdict("undecided", "no rule speaks of this tool")


def _place(call: ToolCall) -> Place:
    roots = tuple(str(root) for root in call.roots)
    cwd = roots[0] if roots else ""
    return Place(cwd, str(Path.home()), sys.platform, roots, cwd)


def _finding(name: str, value: str, place: Place, spec: ToolSpec, rules: Rules) -> Finding | None:
    """What an argument says about the call; None for nothing."""
    words = {word.lower() for word in _WORDS.findall(name)}
    if words & _COMMANDS:
        return review(value, place, rules)
    is_file = bool(words & _FILES) and not _WEB.match(value)
    if not is_file and (words & _TEXTS or not _PATH.match(value)):
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
    if not value.lower().startswith("file:"):
        return value
    return unquote(re.sub(r"(?i)^file:(?://[^/]*)?", "", value))


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text in the arguments, with the name of its member."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(str(key), inner)  # pyright: ignore[reportUnknownArgumentType]
    else:
        for inner in as_list(value):
            yield from _texts(name, inner)


def _joined(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Commands whose words are separate arguments."""
    for name, value in arguments.items():
        words = {word.lower() for word in _WORDS.findall(name)}
        if not words & _COMMANDS:
            continue
        parts = [value] if isinstance(value, str) else as_list(value)
        parts = [*parts, *(word for key in _ARGUMENTS for word in as_list(arguments.get(key)))]
        if len(parts) > 1:
            yield f"{parts[0]} {shlex.join(map(str, parts[1:]))}"
