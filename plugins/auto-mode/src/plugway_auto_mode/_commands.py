"""The verdict on one shell command: on every simple command in it, and on the syntax around them.

Harmless only if every part is known to be; harmful if any part is. Nothing is looked up or run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from plugway_auto_mode._appends import appended_file
from plugway_auto_mode._calls import Call, calls
from plugway_auto_mode._dangers import assignment_danger, danger, redirect_danger, shown
from plugway_auto_mode._doubts import command_doubt
from plugway_auto_mode._finding import Finding, Place
from plugway_auto_mode._paths import Moved, locate
from plugway_auto_mode._powershell import review_powershell
from plugway_auto_mode._readers import ReaderCheck, found_calls, is_safe_assignment
from plugway_auto_mode._rules import Rules, dangers, known, readers
from plugway_auto_mode._shell import MOST_BYTES, parse
from plugway_auto_mode._words import Command, Script, Word, plain_word

__all__ = [
    "Rules",
    "changes_folder",
    "possible_files",
    "review",
    "review_powershell",
    "simple_commands",
]

MOST_NESTED: Final = 4
"""Maximum depth of nested shells that are checked."""
MOST_COMMANDS: Final = 200
MOST_WORDS: Final = 300
"""Maximum simple commands in total; more take longer to check than a verdict may take."""
_MOVES: Final = frozenset(("cd", "pushd", "popd", "chdir", "eval", "source", "."))


def review(command: str, place: Place, rules: Rules, depth: int = 0) -> Finding:
    """The verdict on a bash command."""
    if len(command) > MOST_BYTES:
        return Finding("undecided", "the command is too long to check")
    if any(_hides(c) for c in command):
        return Finding("harmful", "has control characters or marks that hide what it does")
    script = parse(command)
    if script is None:
        return Finding("harmful", "does not parse as a shell command")
    words = sum(len(one.words) for one in script.commands)
    if len(script.commands) > MOST_COMMANDS or words > MOST_WORDS:
        return Finding("undecided", "the command is too long to check")
    finding = _Review(script, place, rules, depth).finding()
    if finding.answer == "undecided" and appended_file(command, place):
        return Finding("harmless", "appends plain text to a text file of the working folder")
    return finding


def simple_commands(command: str) -> tuple[str, ...]:
    """The text of each simple command, with blanks folded; empty if a part is not understood."""
    script = parse(command)
    if script is None or script.unclear:
        return ()
    return tuple(" ".join(one.source.split()) for one in script.commands)


def possible_files(command: str) -> frozenset[str]:
    """Words of all its commands that may name files, as far as they are known before it runs."""
    script = parse(command)
    if script is None:
        return frozenset()
    words = [word for one in script.commands for word in one.words[1:]]
    words += [redirect.target for one in script.commands for redirect in one.redirects]
    pieces = {piece for word in words for piece in (word.text, *re.split("[=:]", word.text)[1:])}
    return frozenset(piece for piece in pieces if piece and not piece.startswith("-"))


def changes_folder(command: str) -> bool:
    """Whether the shell's working folder after it is unknown."""
    script = parse(command)
    if script is None:
        return True
    return any(word.text in _MOVES for one in script.commands for word in one.words)


def _hides(character: str) -> bool:
    if character in "\n\t" or " " <= character <= "~":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


class _Review:
    """Checks each command of a script in turn."""

    def __init__(self, script: Script, place: Place, rules: Rules, depth: int) -> None:
        self._script = script
        self._place = place
        self._rules = rules
        self._depth = depth
        self._readers = ReaderCheck(script, place)
        self._open = script.unclear
        """Why it is not known to be harmless."""

    def finding(self) -> Finding:
        """The verdict on the whole script."""
        for name in self._script.functions:
            if name in dangers() or name in readers() or name in ("cd", "sudo", ":"):
                return Finding("harmful", f"redefines `{shown(name)}`")
        for command in self._script.commands:
            if reason := self._command(command):
                return Finding("harmful", reason)
        if self._open:
            return Finding("undecided", self._open)
        if not self._script.commands:
            return Finding("undecided", "it contains no command")
        return Finding("harmless", "only reads")

    def _doubt(self, reason: str) -> None:
        self._open = self._open or reason

    def _command(self, command: Command) -> str:
        """Why a simple command is harmful; also records doubts."""
        moved = self._moved(command)
        self._doubt(command_doubt(command))
        for assignment in command.assignments:
            if not command.words and (
                reason := assignment_danger(assignment.name, assignment.value)
            ):
                return reason
        for redirect in command.redirects:
            if reason := redirect_danger(redirect, self._place, moved):
                return reason
            target = redirect.target.text
            quiet = target == "/dev/null" or re.fullmatch(r"\d+|-", target)
            if redirect.operator[:2] != "<<" and not quiet:
                reads = redirect.operator == "<" and redirect.target.static and not moved
                if not (reads and locate(target, self._place) == "inside"):
                    self._doubt("reads or writes a file by a redirection")
        trusted = bool(command.words) and any(
            pattern.matches(command.words) for pattern in self._rules.trust
        )
        return self._calls(list(self._all_calls(command)), moved, trusted=trusted)

    def _all_calls(self, command: Command) -> Iterator[Call]:
        for call in calls(command):
            yield call
            for words in found_calls(call):
                yield from calls_of(words, command)

    def _calls(self, found: list[Call], moved: Moved, *, trusted: bool) -> str:
        for number, call in enumerate(found):
            words = (_program(call), *call.args)
            for assignment in call.assignments:
                if reason := assignment_danger(assignment.name, assignment.value):
                    return reason
                if not is_safe_assignment(assignment.name, assignment.value):
                    self._doubt(f"sets `{shown(assignment.name)}` for a program")
            if any(pattern.matches(words, static=False) for pattern in self._rules.harmful):
                return f"your configuration marks `{shown(call.program)}` as harmful"
            if reason := danger(call, self._place, moved) or self._code(call):
                return reason
            wraps = number + 1 < len(found)
            allowed = any(pattern.matches(words) for pattern in self._rules.harmless)
            looks_through = wraps and call.program != "find"
            if trusted or looks_through or (allowed and not wraps):
                continue
            if problem := self._readers.problem(call, moved):
                self._doubt(f"`{shown(call.program, 40)}`: {problem}")
        return ""

    def _moved(self, command: Command) -> Moved:
        """Where an earlier `cd` has gone."""
        if command.moved < 0:
            return ""
        before = self._script.commands[command.moved]
        args = [word for word in before.words[1:] if not word.text.startswith("-")]
        if before.words[0].text not in ("cd", "pushd", "chdir"):
            return "unknown"
        if not args:
            return "outside" if before.words[0].text == "cd" else "unknown"
        if before.moved >= 0 and not args[0].text.startswith(("/", "~")):
            return "outside" if self._moved(before) == "outside" else "unknown"
        where = locate(args[0].text, self._place)
        if where == "outside":
            return "outside"
        return "below" if where in ("inside", "whole") and args[0].static else "unknown"

    # ── code that another program runs ───────────────────────────────────────────────────────

    def _code(self, call: Call) -> str:
        program = re.sub(r"[\d.]+$", "", call.program.rpartition("/")[2])
        if call.program in ("source", "."):
            return self._sourced(call)
        if program in known().shells:
            return self._shell(call)
        if program in known().interpreters or call.program in known().interpreters:
            return self._interpreter(call)
        if call.program == "alias" and call.args:
            return "changes what commands do"
        if call.program == "trap" and call.args:
            return self._trap(call.args[0])
        return ""

    def _sourced(self, call: Call) -> str:
        for word in call.args[:1]:
            if word.substitutions:
                return "runs the output of another command"
            if locate(word.text, self._place) == "outside":
                return "runs a file outside the working folder"
        return ""

    def _trap(self, code: Word) -> str:
        return self._nested(code) if code.static else "runs unknown text"

    def _shell(self, call: Call) -> str:
        words = call.args
        for at, word in enumerate(words):
            if re.fullmatch(r"-[a-zA-Z]*c", word.text) and at + 1 < len(words):
                code = words[at + 1]
                known_parts = all(part.kind in ("plain", "quoted", "loop") for part in code.parts)
                if call.fed or (code.dynamic and not known_parts):
                    return "runs text that is computed first"
                return self._nested(code)
        if any(word.substitutions for word in words):
            return "runs the output of another command"
        files = [word for word in words if not word.text.startswith("-")]
        piped = call.command.piped_from is not None and (not files or "-s" in call.words)
        if piped or call.fed:
            return "pipes text into a shell"
        if call.command.stdin is not None and not files:
            stdin = call.command.stdin
            return self._nested(stdin) if not stdin.dynamic else "runs unknown text"
        if any(redirect.operator == "<" for redirect in call.command.redirects) and not files:
            return ""
        if files and locate(files[0].text, self._place) == "outside":
            return "runs a script outside the working folder"
        return ""

    def _nested(self, code: Word) -> str:
        if self._depth >= MOST_NESTED:
            return "nests shells too deeply"
        inner = review(code.text, self._place, self._rules, self._depth + 1)
        if inner.answer == "harmful":
            return inner.reason
        self._doubt(inner.reason if inner.answer == "undecided" else "runs another shell")
        return ""

    def _interpreter(self, call: Call) -> str:
        if any(word.substitutions for word in call.args):
            return "runs the output of another command"
        files = [word for word in call.args if not word.text.startswith("-")]
        if call.command.piped_from is not None and not files and not call.args:
            return "pipes text into an interpreter"
        if call.command.piped_from is not None and call.words[:1] == ("-",):
            return "pipes text into an interpreter"
        texts = [word.text for word in call.args]
        texts += [call.command.stdin.text] if call.command.stdin is not None else []
        for rule in known().code:
            if any(rule.pattern.search(text[:20_000]) for text in texts):
                return rule.because
        return ""


def calls_of(words: tuple[Word, ...], command: Command) -> Iterator[Call]:
    """The calls of a command that another program starts."""
    yield from calls(Command(words, command.source, piped_from=command.piped_from))


def _program(call: Call) -> Word:
    """The program as a word; a computed one is not static, and harmful anyway."""
    return plain_word(call.program)
