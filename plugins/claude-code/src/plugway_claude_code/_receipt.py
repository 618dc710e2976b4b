"""Records the changes of a setup, file by file, so that they can be undone exactly.

Receipts and copies of the original files are stored in the state folder, private to the user,
because they contain the gateway's token.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import platformdirs

from plugway import PlugwayError, as_list, as_object, write_file
from plugway_claude_code import _json_file
from plugway_claude_code._edits import Change, Edit, apply, undo_changes
from plugway_claude_code._json_file import PRIVATE, JsonFile, NotEditable

_LOCK_TRIES = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One file with its original content, and the changes made to it."""

    path: Path
    original: bytes | None
    """None if the file did not exist."""
    ours: str
    """SHA-256 of the content that was written."""
    changes: tuple[Change, ...]
    mode: int | None = None
    """Original permissions; None if the file did not exist, or in an older receipt."""

    def undone(self, file: JsonFile) -> tuple[bytes | None, list[str]]:
        """The file's bytes without our changes, and the keys that were changed by others since."""
        if file.raw is None:
            return None, []
        if _digest(file.raw) == self.ours:
            return self.original, []
        document, kept = undo_changes(file.document, self.changes)
        if self.original is None and not document:
            return None, kept
        before = _json_file.parse(self.path, self.original) if self.original else {}
        if self.original is not None and document == before and list(document) == list(before):
            return self.original, kept
        return (file.raw if document == file.document else file.render(document)), kept


@dataclass(frozen=True, slots=True)
class Planned:
    """A file with the edits to make; not yet written."""

    file: JsonFile
    base: bytes | None
    """The file's bytes without an earlier setup."""
    after: bytes
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        """Whether writing would change anything."""
        return self.file.raw != self.after

    @property
    def open_to_others(self) -> bool:
        """Whether others could read a token in it with its current permissions."""
        return bool(self.file.mode & ~PRIVATE & 0o077)


@dataclass(slots=True)
class Receipt:
    """All files of one setup."""

    path: Path
    entries: dict[Path, Entry] = field(default_factory=dict[Path, Entry])

    @classmethod
    def load(cls, name: str) -> Receipt:
        """Load the receipt called `name`; empty if it does not exist."""
        path = folder() / f"{name}.json"
        receipt = cls(path)
        try:
            items = as_list(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return receipt
        except (OSError, ValueError) as error:
            raise PlugwayError(f"cannot read the receipt {path}: {error}") from None
        for item in map(as_object, items):
            entry = _entry_from(item)
            receipt.entries[entry.path] = entry
        return receipt

    def plan(self, path: Path, edits: Sequence[Edit]) -> Planned:
        """Apply the edits to the file without our earlier changes. Raises `NotEditable`."""
        file = _json_file.read(path)
        base = file.raw
        entry = self.entries.get(file.path)
        if entry is not None:
            base, _ = entry.undone(file)
        document = _json_file.parse(path, base) if base else {}
        try:
            after, changes = apply(document, edits)
        except NotEditable as error:
            raise NotEditable(f"{path}: {error}") from None
        look = JsonFile(file.path, base, document)
        return Planned(file, base, look.render(after), tuple(changes))

    def write(self, planned: Planned, *, private: bool) -> None:
        """Make the edits, after recording how to undo them.

        `private` restricts the file to the user, because it contains the gateway's token; otherwise
        the file is shared with other users, and keeps its permissions.
        """
        path = planned.file.path
        if planned.file.raw is not None and path not in self.entries:
            _keep_copy(path, planned.file.raw)
        before = self.entries.get(path)
        mode = before.mode if before else planned.file.mode
        entry = Entry(path, planned.base, _digest(planned.after), planned.changes, mode)
        self.entries[path] = entry
        self.save()
        if planned.changed or (private and planned.open_to_others):
            with locked(path) if path.name == ".claude.json" else nullcontext():
                wanted = PRIVATE if private else planned.file.mode
                _json_file.write(planned.file, planned.after, wanted)

    def undo(self, path: Path) -> list[str]:
        """Undo our changes in one file; return the keys that were changed by others since."""
        file, entry = _json_file.read(path), self.entries[path]
        raw, kept = entry.undone(file)
        mode = file.mode if entry.mode is None else entry.mode
        if raw != file.raw or (raw is not None and mode != file.mode):
            with locked(path) if path.name == ".claude.json" else nullcontext():
                _json_file.write(file, raw, mode)
        del self.entries[path]
        self.save()
        return kept

    def save(self) -> None:
        """Write the receipt, or remove it if it is empty."""
        if not self.entries:
            self.path.unlink(missing_ok=True)
            return
        items = [_entry_as_json(entry) for entry in self.entries.values()]
        _private(self.path, json.dumps(items, indent=1).encode())


def folder() -> Path:
    """The folder of receipts and copies."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "setup"


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    original = None if entry.original is None else base64.b64encode(entry.original).decode()
    return {
        "path": str(entry.path),
        "original": original,
        "ours": entry.ours,
        "mode": entry.mode,
        "changes": [change.as_json() for change in entry.changes],
    }


def _entry_from(item: dict[str, Any]) -> Entry:
    original = item.get("original")
    raw = None if original is None else base64.b64decode(str(original))
    changes = tuple(Change.from_json(as_object(change)) for change in as_list(item.get("changes")))
    mode = item.get("mode")
    return Entry(
        Path(str(item["path"])),
        raw,
        str(item["ours"]),
        changes,
        mode if isinstance(mode, int) else None,
    )


def _keep_copy(path: Path, raw: bytes) -> None:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    _private(folder() / "copies" / f"{stamp}-{path.name.lstrip('.')}", raw)


def _private(path: Path, raw: bytes) -> None:
    for inner in (folder().parent, folder(), path.parent):
        inner.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(path, raw)


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@contextmanager
def locked(path: Path) -> Generator[None]:
    """The lock that Claude Code uses for its state file: a folder next to it."""
    lock = path.with_name(f"{path.name}.lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(_LOCK_TRIES):
        try:
            lock.mkdir()
            break
        except FileExistsError:
            _wait()
    else:
        raise PlugwayError(f"{lock} is old: if Claude Code is not running, remove it")
    try:
        yield
    finally:
        lock.rmdir()


def _wait() -> None:
    threading.Event().wait(0.05)
