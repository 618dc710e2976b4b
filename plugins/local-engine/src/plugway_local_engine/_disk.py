"""Saved states in files, so that a restarted gateway does not compute old prompts again.

One file per conversation, with a total limit; the least recently used are deleted first. A separate
thread writes; `_prefix` decides what is worth saving.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import queue
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from plugway_local_engine._slots import Checkpoint, Owner
from plugway_local_engine._states import SavedState

if TYPE_CHECKING:
    from plugway_local_engine._contract import Blob, Tokens

_MAGIC: Final = b"PLWYKV02"
_LENGTHS: Final = struct.Struct("<II")
_HEADER_LIMIT: Final = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Stored:
    """A file, identified by its tokens; the state itself is read when needed."""

    path: Path
    tokens: Tokens
    caller: str
    """Caller that may use it, see `Owner.caller`."""
    positions: tuple[int, ...]
    """Positions of its checkpoints."""
    size: int
    used: float


class DiskCache:
    """The files of one model; `key` identifies the model, template and layout that they fit."""

    def __init__(self, folder: Path, key: str, limit: int) -> None:
        self.folder = folder / key
        self.limit = limit
        self.entries: list[Stored] = []
        self._lock = threading.Lock()
        self._queue: queue.Queue[tuple[str, SavedState, str]] = queue.Queue(maxsize=2)
        if limit > 0:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._scan()
            threading.Thread(target=self._write_all, name="disk cache", daemon=True).start()

    def save(self, state: SavedState, replaces: str = "") -> str:
        """Write in the background; returns the file's name, empty if it is not kept."""
        if self.limit <= 0 or state.size > self.limit // 2:
            return ""
        whose = hashlib.sha256(state.owner.caller.encode()).digest()
        digest = hashlib.blake2b(state.tokens.tobytes(), digest_size=16, key=whose)
        name = f"{digest.hexdigest()}.kv"
        try:
            self._queue.put_nowait((name, state, replaces if replaces != name else ""))
        except queue.Full:
            return ""
        return name

    def load(self, entry: Stored) -> SavedState | None:
        """Read a state; a damaged file is deleted."""
        try:
            with entry.path.open("rb") as file:
                state = _read(file)
            os.utime(entry.path)
        except (OSError, ValueError) as error:
            _log.warning("prefix file %s is unusable: %s", entry.path.name, error)
            self._drop(entry)
            return None
        entry.used = time.time()
        return state

    def of_caller(self, caller: str) -> list[Stored]:
        """The files that the caller may use."""
        with self._lock:
            return [entry for entry in self.entries if entry.caller == caller]

    def flush(self, seconds: float) -> None:
        """Wait for pending writes."""
        end = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < end:
            threading.Event().wait(0.01)

    def _scan(self) -> None:
        for path in self.folder.glob("*.kv"):
            try:
                with path.open("rb") as file:
                    header, tokens = _read_head(file)
                status = path.stat()
            except (OSError, ValueError):
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            positions = tuple(int(p) for p in header["positions"])
            caller = str(header["caller"])
            entry = Stored(path, tokens, caller, positions, status.st_size, status.st_mtime)
            self.entries.append(entry)
        for leftover in self.folder.glob("*.part"):
            with contextlib.suppress(OSError):
                leftover.unlink()
        self._shrink(0)

    def _write_all(self) -> None:
        while True:
            name, state, replaces = self._queue.get()
            try:
                self._write(name, state, replaces)
            except OSError as error:
                _log.warning("cannot keep a prefix on disk: %s", error)
            finally:
                self._queue.task_done()

    def _write(self, name: str, state: SavedState, replaces: str) -> None:
        path = self.folder / name
        self._shrink(state.size)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            _write(file, state)
        part.replace(path)
        positions = tuple(c.position for c in state.checkpoints)
        size, caller = path.stat().st_size, state.owner.caller
        entry = Stored(path, state.tokens, caller, positions, size, time.time())
        with self._lock:
            old = [e for e in self.entries if e.path.name in (name, replaces)]
            self.entries = [e for e in self.entries if e not in old] + [entry]
        for gone in old:
            if gone.path != path:
                with contextlib.suppress(OSError):
                    gone.path.unlink()

    def _shrink(self, more: int) -> None:
        while True:
            with self._lock:
                total = sum(entry.size for entry in self.entries) + more
                oldest = min(self.entries, key=lambda e: e.used, default=None)
            if total <= self.limit or oldest is None:
                return
            self._drop(oldest)

    def _drop(self, entry: Stored) -> None:
        with self._lock:
            self.entries = [e for e in self.entries if e is not entry]
        with contextlib.suppress(OSError):
            entry.path.unlink()


def _write(file: BinaryIO, state: SavedState) -> None:
    blobs = [state.blob, *(c.blob for c in state.checkpoints)]
    header = json.dumps(
        {
            "tokens": len(state.tokens),
            "caller": state.owner.caller,
            "positions": [c.position for c in state.checkpoints],
            "sizes": [blob.nbytes for blob in blobs],
            "sums": [zlib.crc32(blob.data) for blob in blobs],
        }
    ).encode()
    tokens = state.tokens.astype("<i4").tobytes()
    file.write(_MAGIC + _LENGTHS.pack(len(header), zlib.crc32(tokens, zlib.crc32(header))))
    file.write(header)
    file.write(tokens)
    for blob in blobs:
        file.write(blob.data)


def _read_head(file: BinaryIO) -> tuple[dict[str, Any], Tokens]:
    start = file.read(len(_MAGIC) + _LENGTHS.size)
    if len(start) < len(_MAGIC) + _LENGTHS.size or not start.startswith(_MAGIC):
        raise ValueError("not a prefix file")
    length, total = _LENGTHS.unpack_from(start, len(_MAGIC))
    if length > _HEADER_LIMIT:
        raise ValueError("its header is too long")
    text = file.read(length)
    header: dict[str, Any] = json.loads(text) if len(text) == length else {}
    data = file.read(4 * int(header.get("tokens", 0)))
    if zlib.crc32(data, zlib.crc32(text)) != total:
        raise ValueError("its header is damaged")
    return header, np.frombuffer(data, "<i4").astype(np.int32)


def _read(file: BinaryIO) -> SavedState:
    header, tokens = _read_head(file)
    blobs: list[Blob] = []
    for size, expected in zip(header["sizes"], header["sums"], strict=True):
        blob = np.fromfile(file, np.uint8, size)
        if len(blob) != size or zlib.crc32(blob.data) != expected:
            raise ValueError("its data is damaged")
        blobs.append(blob)
    points = zip(header["positions"], blobs[1:], strict=True)
    checkpoints = tuple(Checkpoint(p, b) for p, b in points)
    return SavedState(tokens, blobs[0], checkpoints, Owner(caller=str(header["caller"])))
