"""What programs one simple command starts: wrappers such as `timeout` or `xargs` are looked through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from plugway_auto_mode._words import Assignment, Command, Part, Word

MOST_WRAPPERS = 8
_FOLDERS = frozenset(("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/opt/homebrew/bin"))
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\+?=(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?[smhd]?\Z")

_VALUED = {
    "env": {"-u", "-C", "--unset", "--chdir"},
    "exec": {"-a"}, "nice": {"-n"}, "ionice": {"-c", "-n", "-p"},
    "timeout": {"-s", "-k", "--signal", "--kill-after"}, "gtimeout": {"-s", "-k"},
    "time": {"-f", "-o", "--format", "--output"}, "stdbuf": {"-i", "-o", "-e"},
    "xargs": {"-n", "-I", "-P", "-L", "-d", "-s", "-E", "-a", "--max-args", "--max-procs"},
    "watch": {"-n", "--interval"}, "parallel": {"-j", "-I", "--jobs", "-a", "-N"},
    "sudo": {"-u", "-g", "-C", "-h", "-p", "-r", "-t", "-U"}, "doas": {"-u", "-C"},
    "unbuffer": set(), "script": {"-c"}, "flock": {"-w"}, "taskset": set(), "strace": {"-o", "-e"},
    "command": set(), "builtin": set(), "nohup": set(), "setsid": set(), "busybox": set(),
    "toybox": set(), "noglob": set(), "nocorrect": set(), "coproc": set(), "caffeinate": {"-t"},
    "chronic": set(), "arch": set(), "pkexec": {"--user"}, "-": set(),
}  # fmt: skip
_POSITIONAL = frozenset(("timeout", "gtimeout", "flock", "taskset"))
_QUIET = {
    "time": {"-p"}, "timeout": {"-s", "-k", "--signal", "--kill-after", "--preserve-status", "--foreground"},
    "gtimeout": {"-s", "-k"}, "nice": {"-n"}, "command": {"-p"}, "builtin": set[str](), "noglob": set[str](),
    "env": {"-u"}, "stdbuf": {"-i", "-o", "-e", "-oL", "-o0", "-eL", "-i0"},
    "xargs": {"-0", "-r", "-n", "-I", "-P", "-L", "-t", "-d", "--null", "--no-run-if-empty", "-n1", "-P4", "-I{}", "-0r", "-r0"},
    "nocorrect": set[str](),
}  # fmt: skip
"""Wrappers that change nothing that matters, with the options for which that is so."""


@dataclass(frozen=True, slots=True)
class Call:
    """One program with its words, as some wrapper or the shell starts it."""

    program: str
    """Its name without a folder of the system; with one where it is another's; empty if unknown."""
    args: tuple[Word, ...]
    command: Command
    assignments: tuple[Assignment, ...] = ()
    doubt: str = ""
    """Why a wrapper around it keeps it from being known as harmless."""
    fed: bool = False
    """Whether `xargs` or `find` adds arguments to it."""
    obscured: str = ""
    """How its name is hidden, where it is."""

    @property
    def words(self) -> tuple[str, ...]:
        """The texts of its arguments."""
        return tuple(word.text for word in self.args)


def calls(command: Command) -> Iterator[Call]:
    """The call of the command itself, then what each wrapper starts in turn."""
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
    yield replace(call, program="", args=(), doubt="too many wrappers", obscured="wraps a program in too many others")


def start(
    words: tuple[Word, ...],
    command: Command,
    assignments: tuple[Assignment, ...] = (),
    doubt: str = "",
    fed: bool = False,
) -> Call:
    """The call of a program that stands first in `words`."""
    name = words[0]
    program = name.text
    folder, slash, base = program.rpartition("/")
    if slash and folder in _FOLDERS:
        program = base
    elif name.dynamic and slash and re.fullmatch(r"[\w.+-]+", base):
        doubt = doubt or "a program whose folder is not known"
    return Call(program, words[1:], command, assignments, doubt, fed, _obscured(name, folder))


def _obscured(name: Word, folder: str) -> str:
    kinds = [part.kind for part in name.parts]
    text = name.text
    if not text.isascii():
        return "has letters in a program's name that look like others"
    if name.dynamic and not (folder and name.parts[-1].kind in ("plain", "quoted") and "/" in name.parts[-1].text):
        return "computes the name of a program"
    if "ansi" in kinds or name.brace or (name.glob and text not in ("[", "[[")):
        return "hides the name of a program"
    escaped_first = name.source.startswith("\\") and "\\" not in name.source[1:] and kinds == ["quoted", "plain"]
    if len(kinds) > 1 and not escaped_first and "/" not in text and not name.dynamic:
        return "hides the name of a program in quotes"
    return "" if text.strip() else "has no name for a program"


def _unwrap(call: Call) -> Call | None:
    valued = _VALUED.get(call.program)
    if valued is None or not call.args:
        return None
    if call.program == "command" and call.args[0].text in ("-v", "-V"):
        return None
    quiet = _QUIET.get(call.program)
    doubt = call.doubt or ("" if quiet is not None else f"`{call.program}`")
    at, placeholder, assignments = 0, "", list(call.assignments)
    positional = call.program in _POSITIONAL
    while at < len(call.args):
        word = call.args[at]
        text = word.text
        found = _ASSIGNMENT.fullmatch(text) if call.program in ("env", "sudo") else None
        if found is not None:
            assignments.append(Assignment(found[1], Word(found[2], (Part("unclear" if word.dynamic else "quoted", found[2]),))))
        elif text.startswith("-") and len(text) > 1:
            if quiet is None or text not in quiet:
                doubt = doubt or f"`{call.program} {text}`"
            placeholder = _placeholder(call, at) or placeholder
            at += text in valued
        elif positional:
            positional = False
        elif not (call.program == "nice" and _NUMBER.match(text)):
            break
        at += 1
    rest = call.args[at:]
    if not rest:
        return None
    fed = call.fed or call.program in ("xargs", "parallel")
    if call.program in ("xargs", "parallel"):
        rest = _fed(rest, placeholder, call.command)
    return start(rest, call.command, tuple(assignments), doubt, fed)


def _placeholder(call: Call, at: int) -> str:
    text = call.args[at].text
    if call.program != "xargs" or not text.startswith("-I"):
        return ""
    return text[2:] or (call.args[at + 1].text if at + 1 < len(call.args) else "")


def _fed(words: tuple[Word, ...], placeholder: str, command: Command) -> tuple[Word, ...]:
    """The words with what `xargs` reads: the output of the commands before it in the pipeline."""
    part = Part("commands", "fed", command.piped_from) if command.piped_from else Part("unclear")
    if not placeholder:
        return (*words, Word("...", (part,)))
    return tuple(
        Word(word.source, (part,)) if word.text == placeholder
        else Word(word.source, (Part("unclear", word.text),)) if placeholder in word.text
        else word
        for word in words
    )  # fmt: skip
