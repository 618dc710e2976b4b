"""A program that has loaded its voice and waits for a text, so that the next one is fast.

Each program still speaks one text: it reads until its input ends, and so its output ends, too.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO, NamedTuple


class Started(NamedTuple):
    """A program, and the file with its messages."""

    program: subprocess.Popen[bytes]
    notes: IO[bytes]


class Spare:
    """At most one program that waits."""

    def __init__(self) -> None:
        self._command: list[str] = []
        self._waits: Started | None = None

    def take(self, command: Sequence[str]) -> Started:
        """The one that waits, if it was started by this command; or else a new one."""
        found, self._waits = self._waits, None
        if found is not None and self._command == [*command] and found.program.poll() is None:
            return found
        if found is not None:
            end(found)
        return start(command)

    def prepare(self, command: Sequence[str]) -> None:
        """Start the program that the next request may take."""
        self.close()
        self._command, self._waits = [*command], start(command)

    def close(self) -> None:
        """End the one that waits."""
        if self._waits is not None:
            end(self._waits)
            self._waits = None


def start(command: Sequence[str]) -> Started:
    """Start a program that reads from a pipe, and writes to one."""
    notes = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
    program = subprocess.Popen(
        command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=notes
    )
    return Started(program, notes)


def end(started: Started) -> None:
    """End a program, whatever it does."""
    program, notes = started
    program.kill()
    program.wait()
    for file in (program.stdin, program.stdout, notes):
        if file is not None:
            file.close()
