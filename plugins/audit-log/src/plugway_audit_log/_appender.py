"""Appends records to the files of a chain, and signs checkpoints and the head. Used by one thread.

Nothing that was written is ever changed. A line that a power cut tore is left as it is; the record
after it states its size and hash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from plugway_audit_log._chain import FIRST, Line, Signer, decode, encode, timestamp
from plugway_audit_log._folder import claim_chain
from plugway_audit_log._options import AuditLogOptions

_MIB: Final = 1 << 20
_TAIL_READ: Final = 1 << 16


class Appender:
    """The end of one chain. Methods raise `OSError` if the disk fails; call them again later."""

    def __init__(self, folder: Path, signer: Signer, options: AuditLogOptions) -> None:
        """Claims a chain and continues it. Raises `PlugwayError` or `OSError`."""
        self.options = options
        self.signer = signer
        self.chain, self._lock = claim_chain(folder, signer.public)
        self._number, self._prev = 0, FIRST
        self._file: int | None = None
        self._size = 0
        self._day = ""
        self._unwritten = b""
        self._unsigned = 0
        """Records since the last checkpoint."""
        self._synced = True
        self._headed = -1
        """The number of the last record in the signed head."""
        self.clean = True
        """Whether the gateway that wrote the chain before was stopped, not killed."""
        self.torn: dict[str, Any] = {}
        """Size and hash of an incomplete last line."""
        try:
            self._resume()
        except BaseException:
            self._lock.close()
            raise

    def _resume(self) -> None:
        """Find the last complete record. It may be in an older file than the last one."""
        files = self.chain.files()
        if files:
            self._open(files[-1])
            self._unsigned = self.options.checkpoint_records  # the next record is a checkpoint
        for path in reversed(files):
            line, rest = last_line(path)
            if rest and not self.torn:
                self.torn = {"bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}
                self._unwritten = b"\n"
            if line is not None:
                self._number, self._prev = line.number + 1, line.hash
                self._day = str(line.data.get("time", ""))[:10]
                self.clean = line.kind == "checkpoint" and line.data.get("stop") is True
                return

    def add(self, record: Mapping[str, Any]) -> None:
        """Append one record to the buffer, with a checkpoint before it if one is due."""
        time = record["time"]
        full = self._size + len(self._unwritten) > self.options.rotate_mib * _MIB
        if self._file is None or full or (self._day and time[:10] > self._day):
            self._rotate(time)
        elif self._unsigned >= self.options.checkpoint_records:
            self._checkpoint(time)
        self._append({"time": time, **record})

    def _append(self, record: Mapping[str, Any]) -> None:
        line, digest = encode(
            {**record, "chain": self.chain.name, "n": self._number, "prev": self._prev}
        )
        self._unwritten += line
        self._number, self._prev = self._number + 1, digest
        self._unsigned += 1

    def _checkpoint(self, time: str, **more: Any) -> None:
        statement = {
            "kind": "checkpoint",
            "time": time,
            "chain": self.chain.name,
            "n": self._number,
            "prev": self._prev,
            "every": self.options.checkpoint_records,
            **more,
        }
        if self.torn:
            statement["torn"], self.torn = self.torn, {}
        self._append(self.signer.signed(statement))
        self._unsigned = 0

    def _rotate(self, time: str) -> None:
        """Begin a new file with a checkpoint, so that it can be verified without older ones."""
        if self._file is not None:
            self.write()
            self.sync()
            os.close(self._file)
            self._file = None
        self._open(self.chain.file(self._number))
        self._day = time[:10]
        self._checkpoint(time)

    def _open(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, flags, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self) -> None:
        """Write what is buffered; what the disk does not take stays buffered."""
        while self._unwritten:
            assert self._file is not None
            count = os.write(self._file, self._unwritten)
            self._size += count
            self._unwritten = self._unwritten[count:]
            self._synced = False

    def sync(self) -> None:
        """Sync what was written, and then sign the head, which never names more than that."""
        if self._file is None or self._unwritten:
            return
        if not self._synced and self.options.fsync != "never":
            os.fsync(self._file)
        self._synced = True
        if self._headed != self._number - 1 >= 0:
            head = {
                "kind": "head",
                "time": now(),
                "chain": self.chain.name,
                "n": self._number - 1,
                "hash": self._prev,
            }
            self.chain.write_statement("head", self.signer.signed(head))
            self._headed = self._number - 1

    def close(self, record: Mapping[str, Any] | None) -> None:
        """Write a last record and a checkpoint, and release the chain."""
        try:
            if record is not None:
                self.add(record)
                self._checkpoint(record["time"], stop=True)
            self.write()
            self.sync()
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._lock.close()


def now() -> str:
    """The time now, as records contain it."""
    return timestamp(datetime.now(UTC))


def last_line(path: Path) -> tuple[Line | None, bytes]:
    """The last complete record of a file, and the incomplete line after it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        step = _TAIL_READ
        while True:
            start = max(0, size - step)
            file.seek(start)
            *lines, rest = file.read(size - start).split(b"\n")
            for raw in reversed(lines if start == 0 else lines[1:]):
                if (line := decode(raw)) is not None:
                    return line, rest
            if start == 0:
                return None, rest
            step *= 8
