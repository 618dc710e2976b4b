"""The programs that a simple command starts, including those behind wrappers such as `timeout`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from plugway_auto_mode._words import Assignment, Command, Kind, Part, Word

MOST_WRAPPERS = 8
_FOLDERS = frozenset(
    ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/opt/homebrew/bin")
)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?[smhd]?\Z")

_VALUED: dict[str, str] = {
    "env": "-u -C --unset --chdir",
    "exec": "-a",
    "nice": "-n",
    "ionice": "-c -n -p",
    "timeout": "-s -k --signal --kill-after",
    "gtimeout": "-s -k",
    "time": "-f -o --format --output",
    "stdbuf": "-i -o -e",
    "xargs": "-n -I -P -L -d -s -E -a --max-args --max-procs",
    "watch": "-n --interval",
    "parallel": "-j -I --jobs -a -N",
    "sudo": "-u -g -C -h -p -r -t -U",
    "doas": "-u -C",
    "script": "-c",
    "flock": "-w",
    "strace": "-o -e",
    "caffeinate": "-t",
    "pkexec": "--user",
    **dict.fromkeys(
        [
            "unbuffer",
            "taskset",
            "command",
            "builtin",
            "nohup",
            "setsid",
            "busybox",
            "toybox",
            "noglob",
            "nocorrect",
            "coproc",
            "chronic",
            "arch",
            "-",
        ],
        "",
    ),
}
"""Programs that start another program, with their options that take a value."""
_POSITIONAL = frozenset(("timeout", "gtimeout", "flock", "taskset"))
_QUIET: dict[str, str] = {
    "time": "-p",
    "timeout": "-s -k --signal --kill-after --preserve-status --foreground",
    "gtimeout": "-s -k",
    "nice": "-n",
    "command": "-p",
    "builtin": "",
    "noglob": "",
    "nocorrect": "",
    "env": "",
    "stdbuf": "-i -o -e -oL -o0 -eL -i0",
    "xargs": "-0 -r -n -I -P -L -t -d --null --no-run-if-empty -n1 -P4 -I{} -0r -r0",
}
"""Wrappers that change nothing of importance, with the options for which that is true."""


@dataclass(frozen=True, slots=True)
class Call:
    """One program with its words, as a wrapper or the shell starts it."""

    program: str
    """Its name, without its folder if that is a system folder; empty if unknown."""
    args: tuple[Word, ...]
    command: Command
    assignments: tuple[Assignment, ...] = ()
    doubt: str = ""
    """Why a wrapper makes it impossible to call it harmless; empty if none does."""
    fed: bool = False
    """Whether `xargs` or `find` adds arguments to it."""
    obscured: str = ""
    """How its name is hidden; empty if it is not."""

    @property
    def words(self) -> tuple[str, ...]:
        """The texts of its arguments."""
        return tuple(word.text for word in self.args)


def calls(command: Command) -> Iterator[Call]:
    """The call of the command itself, then the call that each wrapper starts."""
    if not command.words:
        return
    call = start(command.words, command, command.assignments)
    yield call
    for _ in range(MOST_WRAPPERS):
        inner = _unwrap(call)
        if inner is None:
            return
        call = inner
        yield call
    yield replace(
        call,
        program="",
        args=(),
        doubt="too many wrappers",
        obscured="wraps a program in too many others",
    )


def start(
    words: tuple[Word, ...],
    command: Command,
    assignments: tuple[Assignment, ...] = (),
    doubt: str = "",
    fed: bool = False,
) -> Call:
    """The call of the program that is first in `words`."""
    name = words[0]
    program = name.text
    folder, slash, base = program.rpartition("/")
    if slash and folder in _FOLDERS:
        program = base
    elif name.dynamic and slash and re.fullmatch(r"[\w.+-]+", base):
        doubt = doubt or "a program in an unknown folder"
    return Call(program, words[1:], command, assignments, doubt, fed, _obscured(name, folder))


def _obscured(name: Word, folder: str) -> str:
    kinds = [part.kind for part in name.parts]
    text = name.text
    if not text.isascii():
        return "has look-alike letters in a program's name"
    if name.dynamic and not (
        folder and name.parts[-1].kind in ("plain", "quoted") and "/" in name.parts[-1].text
    ):
        return "computes the name of a program"
    if "ansi" in kinds or name.brace or (name.glob and text not in ("[", "[[")):
        return "hides the name of a program"
    escaped_first = (
        name.source.startswith("\\")
        and "\\" not in name.source[1:]
        and kinds == ["quoted", "plain"]
    )
    if len(kinds) > 1 and not escaped_first and "/" not in text and not name.dynamic:
        return "hides the name of a program in quotes"
    return "" if text.strip() else "has no name for a program"


def _unwrap(call: Call) -> Call | None:
    if call.program not in _VALUED or not call.args:
        return None
    if call.program == "command" and call.args[0].text in ("-v", "-V"):
        return None
    wrapper = _Wrapper(call)
    rest = call.args[wrapper.read() :]
    if not rest:
        return None
    fed = call.program in ("xargs", "parallel")
    if fed:
        rest = _fed(rest, wrapper.placeholder, call.command)
    assignments = tuple(wrapper.assignments)
    return start(rest, call.command, assignments, wrapper.doubt, call.fed or fed)


class _Wrapper:
    """A program that starts another one: finds where the other program's words start."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._valued = _VALUED[call.program].split()
        quiet = _QUIET.get(call.program)
        self._quiet = None if quiet is None else quiet.split()
        self._positional = call.program in _POSITIONAL
        self.assignments = list(call.assignments)
        self.doubt = call.doubt or ("" if quiet is not None else f"`{call.program}`")
        self.placeholder = ""

    def read(self) -> int:
        """The index of the first word that belongs to the other program."""
        at = 0
        while at < len(self._call.args):
            step = self._step(at)
            if not step:
                break
            at += step
        return at

    def _step(self, at: int) -> int:
        word, program = self._call.args[at], self._call.program
        found = _ASSIGNMENT.fullmatch(word.text) if program in ("env", "sudo") else None
        if found is not None:
            kind: Kind = "unclear" if word.dynamic else "quoted"
            self.assignments.append(Assignment(found[1], Word(found[2], (Part(kind, found[2]),))))
            return 1
        if word.text.startswith("-") and len(word.text) > 1:
            if self._quiet is None or word.text not in self._quiet:
                self.doubt = self.doubt or f"`{program} {word.text[:40]}`"
            self.placeholder = _placeholder(self._call, at) or self.placeholder
            return 2 if word.text in self._valued else 1
        if self._positional:
            self._positional = False
            return 1
        return 1 if program == "nice" and _NUMBER.match(word.text) else 0


def _placeholder(call: Call, at: int) -> str:
    text = call.args[at].text
    if call.program != "xargs" or not text.startswith("-I"):
        return ""
    return text[2:] or (call.args[at + 1].text if at + 1 < len(call.args) else "")


def _fed(words: tuple[Word, ...], placeholder: str, command: Command) -> tuple[Word, ...]:
    """The words plus the input of `xargs`: the output of the previous commands in the pipeline."""
    part = Part("commands", "fed", command.piped_from) if command.piped_from else Part("unclear")
    if not placeholder:
        return (*words, Word("...", (part,)))
    return tuple(
        Word(word.source, (part,)) if word.text == placeholder
        else Word(word.source, (Part("unclear", word.text),)) if placeholder in word.text
        else word
        for word in words
    )  # fmt: skip
