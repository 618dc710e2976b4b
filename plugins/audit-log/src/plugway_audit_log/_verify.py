"""Verifies a chain: finds the first record that does not fit, and says why.

The files are read in order. A chain that begins after its first record needs a signed statement
that the older records were deleted on purpose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from plugway_audit_log._chain import FIRST, Line, decode, is_signed
from plugway_audit_log._folder import ChainFolder

Why = Literal[
    "changed", "removed", "inserted", "reordered", "truncated", "replaced", "unsigned", "unreadable"
]


@dataclass(slots=True)
class Report:
    """The result for one chain."""

    chain: str
    files: int = 0
    records: int = 0
    first: int = 0
    last: int = -1
    broken: Broken | None = None
    """The first problem; None if the chain is intact."""
    signed: int = -1
    """The last record that a checkpoint or the head vouches for."""
    notes: list[str] = field(default_factory=list[str])
    """What is no manipulation, such as a line that a power cut tore."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first problem of a chain."""

    why: Why
    where: str
    """File and line."""
    what: str


class _Problem(Exception):
    def __init__(self, why: Why, where: str, what: str) -> None:
        self.broken = Broken(why, where, what)


def verify_folder(
    chain: ChainFolder, public: str, heads: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """Verify a whole chain, with its signed head, and with heads that were kept elsewhere."""
    report = Report(chain.name)
    head = chain.statement("head")  # before the records: a running gateway writes it after them
    check = _Check(report, public, chain.files())
    try:
        pruned = _checked(chain, "pruned", chain.statement("pruned"), public)
        if pruned is not None:
            check.expect(int(pruned["n"]) + 1, str(pruned["hash"]))
            text = f"records up to {pruned['n']} were deleted by `audit prune` at {pruned['time']}"
            report.notes.append(text)
        own = _checked(chain, "head", head, public)
        kept = [
            _checked(chain, "head", one, public) for one in heads if one.get("chain") == chain.name
        ]
        check.compared = {int(one["n"]) for one in (own, *kept) if one is not None}
        check.run()
        for one in (own, *kept):
            _check_head(one, check)
    except _Problem as problem:
        report.broken = problem.broken
    return report


def missing_chains(heads: Sequence[Mapping[str, Any]], there: Sequence[str]) -> list[Report]:
    """A report for each chain that a head names and that is gone."""
    gone = dict.fromkeys(str(head.get("chain")) for head in heads if head.get("chain") not in there)
    what = "the whole chain is missing"
    return [Report(name, broken=Broken("removed", name, what)) for name in gone]


def verify_files(files: Sequence[Path], public: str) -> Report:
    """Verify files alone: copies, or a part of a chain. Their end is not protected by a head."""
    report = Report("")
    check = _Check(report, public, files)
    try:
        check.begin_anywhere()
        check.run()
    except _Problem as problem:
        report.broken = problem.broken
    return report


def _checked(
    chain: ChainFolder, name: str, found: Mapping[str, Any] | None, public: str
) -> Mapping[str, Any] | None:
    if found is None:
        return None
    where = f"{name}.json"
    if not found or not is_signed(found, public):
        raise _Problem("unsigned", where, f"the {name} is not signed with this log's key")
    if found.get("chain") != chain.name or found.get("kind") != name:
        raise _Problem("replaced", where, "it belongs to another chain")
    return found


def _check_head(head: Mapping[str, Any] | None, check: _Check) -> None:
    report = check.report
    if head is None:
        if report.records:
            raise _Problem("removed", "head.json", "the signed head is missing")
        return
    number = int(head["n"])
    if number > report.last:
        lost = f"{report.last + 1} to {number}" if number > report.last + 1 else str(number)
        text = f"the signed head names record {number}, so the end (record {lost}) was cut off"
        raise _Problem("truncated", "head.json", text)
    known = check.hashes.get(number)
    if number >= report.first and known != head["hash"]:
        text = f"record {number} is not the one that the signed head names"
        raise _Problem("replaced", "head.json", text)
    report.signed = max(report.signed, number)


class _Check:
    """Goes through the lines of the files in order."""

    def __init__(self, report: Report, public: str, files: Sequence[Path]) -> None:
        self.report = report
        self.compared = set[int]()
        """Numbers of records that heads name."""
        self.hashes: dict[int, str] = {}
        """The hashes of those records."""
        self._public = public
        self._files = files
        self._number: int = 0
        self._prev: str = FIRST
        self._anywhere = False
        self._pruned = False
        self._torn: tuple[bytes, str] | None = None
        """A line that is not a record, and its place, until a checkpoint explains it."""
        self._every = 0
        self._checkpoint = -1

    def expect(self, number: int, prev: str) -> None:
        """The chain may begin with this record, because the ones before it were pruned."""
        self._number, self._prev, self._pruned = number, prev, True

    def begin_anywhere(self) -> None:
        """The chain may begin with any checkpoint."""
        self._anywhere = True

    def run(self) -> None:
        """Raises `_Problem` at the first line that does not fit."""
        self.report.files = len(self._files)
        for where, raw, whole in self._lines():
            line = decode(raw)
            if line is None or not whole:
                self._take_torn(where, raw)
                continue
            if not self.report.records:
                self._begin(where, line)
            self._take(where, line)
        if self._torn is not None:
            raw, where = self._torn
            text = f"{where}: {len(raw)} bytes of an incomplete last record"
            self.report.notes.append(f"{text}, as a power cut or a running gateway leaves them")

    def _lines(self) -> Iterator[tuple[str, bytes, bool]]:
        for path in self._files:
            try:
                with path.open("rb") as file:
                    for number, raw in enumerate(file, start=1):
                        yield f"{path.name}:{number}", raw.rstrip(b"\n"), raw.endswith(b"\n")
            except OSError as error:
                raise _Problem("unreadable", path.name, str(error.strerror)) from None

    def _take_torn(self, where: str, raw: bytes) -> None:
        if self._torn is not None:
            raise _Problem("changed", self._torn[1], "this line is not a record")
        self._torn = raw, where

    def _explain_torn(self, line: Line) -> None:
        """A line that was torn is stated by the signed checkpoint after it."""
        if self._torn is None:
            return
        raw, where = self._torn
        stated = line.data.get("torn")
        actual = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
        if line.kind != "checkpoint" or stated != actual:
            raise _Problem("changed", where, "this line is not a record")
        self.report.notes.append(f"{where}: an incomplete record, which the next checkpoint states")
        self._torn = None

    def _begin(self, where: str, line: Line) -> None:
        report = self.report
        report.first = line.number
        report.chain = report.chain or str(line.data.get("chain"))
        if self._anywhere:
            self._number, self._prev = line.number, line.prev
            if line.number:
                report.notes.append(f"begins with record {line.number}; older ones are not here")
        elif self._pruned and line.number < self._number:
            # Pruning was interrupted before the files were deleted.
            self._number, self._prev = line.number, line.prev
        if line.number == self._number and line.kind != "checkpoint":
            raise _Problem("replaced", where, "a chain begins with a signed checkpoint")

    def _take(self, where: str, line: Line) -> None:
        if not line.sound:
            raise _Problem("changed", where, f"record {line.number} does not match its hash")
        if line.data.get("chain") != self.report.chain:
            raise _Problem("inserted", where, f"it belongs to chain {line.data.get('chain')!r}")
        if line.number != self._number:
            raise self._out_of_order(where, line)
        if line.prev != self._prev:
            text = f"record {line.number} does not follow the one before it, which was replaced"
            raise _Problem("replaced", where, text)
        self._explain_torn(line)
        if line.kind == "checkpoint":
            self._take_checkpoint(where, line)
        elif self._every and line.number - self._checkpoint > self._every:
            text = f"no signed checkpoint in the {self._every} records before this one"
            raise _Problem("unsigned", where, text)
        if line.number in self.compared:
            self.hashes[line.number] = line.hash
        self._number, self._prev = line.number + 1, line.hash
        self.report.records += 1
        self.report.last = line.number

    def _take_checkpoint(self, where: str, line: Line) -> None:
        if not is_signed(line.data, self._public):
            text = f"checkpoint {line.number} is not signed with this log's key"
            raise _Problem("unsigned", where, text)
        every = line.data.get("every")
        self._every = every if isinstance(every, int) else 0
        self._checkpoint = line.number
        self.report.signed = line.number

    def _out_of_order(self, where: str, line: Line) -> _Problem:
        expected, found = self._number, line.number
        if found < expected:
            if found < self.report.first:
                return _Problem("reordered", where, f"record {found} comes after {expected - 1}")
            same = any(one.number == found and one.hash == line.hash for one in self._before(where))
            what = "a copy of a record" if same else "a second record with this number"
            return _Problem("inserted", where, f"record {found} again: {what}")
        if self._is_later(expected, where):
            text = f"record {found} comes before {expected}, which is further below"
            return _Problem("reordered", where, text)
        missing = str(expected) if found == expected + 1 else f"{expected} to {found - 1}"
        if not self.report.records:
            text = f"record {missing} is missing, and no signed statement says that it was pruned"
            return _Problem("removed", where, text)
        return _Problem("removed", where, f"record {missing} is missing before record {found}")

    def _before(self, end: str) -> Iterator[Line]:
        for where, raw, _ in self._lines():
            if where == end:
                return
            if (line := decode(raw)) is not None:
                yield line

    def _is_later(self, number: int, after: str) -> bool:
        seen = False
        for where, raw, _ in self._lines():
            seen = seen or where == after
            line = decode(raw) if seen else None
            if line is not None and line.number == number and line.sound:
                return True
        return False
