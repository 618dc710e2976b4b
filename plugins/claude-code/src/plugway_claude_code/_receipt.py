"""What a set-up has changed, file by file, so that it can be taken back to the byte.

Receipts and the copies of what was there lie in the state folder, for the user alone: they hold
the gateway's token.
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
from plugway_claude_code._edits import Change, Edit, apply, take_back
from plugway_claude_code._json_file import PRIVATE, JsonFile, Unfit

_LOCK_TRIES = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as it was, and what was done to it."""

    path: Path
    original: bytes | None
    """None: there was no file."""
    ours: str
    """SHA-256 of what was written."""
    changes: tuple[Change, ...]
    mode: int | None = None
    """Its permissions; None where there was no file, or an older receipt does not say."""

    def undone(self, file: JsonFile) -> tuple[bytes | None, list[str]]:
        """The bytes without what is ours, and the keys that others have changed since."""
        if file.raw is None:
            return None, []
        if _digest(file.raw) == self.ours:
            return self.original, []
        document, kept = take_back(file.document, self.changes)
        if self.original is None and not document:
            return None, kept
        before = _json_file.parse(self.path, self.original) if self.original else {}
        if self.original is not None and document == before and list(document) == list(before):
            return self.original, kept
        return (file.raw if document == file.document else file.render(document)), kept


@dataclass(frozen=True, slots=True)
class Planned:
    """A file with the edits that are to be made, not written yet."""

    file: JsonFile
    base: bytes | None
    """Its bytes without an earlier set-up of ours."""
    after: bytes
    changes: tuple[Change, ...]

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        return self.file.raw != self.after

    @property
    def open_to_others(self) -> bool:
        """Whether others could read a token in it, as it is."""
        return bool(self.file.mode & ~PRIVATE & 0o077)


@dataclass(slots=True)
class Receipt:
    """All files of one set-up."""

    path: Path
    entries: dict[Path, Entry] = field(default_factory=dict[Path, Entry])

    @classmethod
    def load(cls, name: str) -> Receipt:
        """The receipt called `name`, empty where there is none."""
        path = folder() / f"{name}.json"
        receipt = cls(path)
        try:
            items = as_list(json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return receipt
        except (OSError, ValueError) as error:
            raise PlugwayError(f"the receipt {path} cannot be read: {error}") from None
        for item in map(as_object, items):
            entry = _entry_from(item)
            receipt.entries[entry.path] = entry
        return receipt

    def plan(self, path: Path, edits: Sequence[Edit]) -> Planned:
        """The edits on top of what the file would be without us. Raises `Unfit`."""
        file = _json_file.read(path)
        base = file.raw
        entry = self.entries.get(file.path)
        if entry is not None:
            base, _ = entry.undone(file)
        document = _json_file.parse(path, base) if base else {}
        try:
            after, changes = apply(document, edits)
        except Unfit as error:
            raise Unfit(f"{path}: {error}") from None
        look = JsonFile(file.path, base, document)
        return Planned(file, base, look.render(after), tuple(changes))

    def write(self, planned: Planned, *, private: bool) -> None:
        """Make the edits, after noting what is needed to take them back.

        `private`: the file is the user's alone from then on, because the gateway's token is in it;
        otherwise other users' clients read it too, and it keeps its permissions.
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
        """Take back what is still ours in one file; the keys that others have changed since."""
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
        """Write the receipt, or remove it where nothing is left."""
        if not self.entries:
            self.path.unlink(missing_ok=True)
            return
        items = [_entry_as_json(entry) for entry in self.entries.values()]
        _private(self.path, json.dumps(items, indent=1).encode())


def folder() -> Path:
    """Where receipts and copies are kept."""
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
    """The lock that Claude Code itself takes for its state file: a folder beside it."""
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
