"""Storage helpers: a dictionary with a size limit, and files of this user."""

from __future__ import annotations

import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_DRAFT_SECONDS: Final = 3600.0


class Bounded(OrderedDict[K, V]):
    """A dictionary of at most `most` entries that drops the oldest. Setting a key makes it the
    newest; reading does not change the order."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


def write_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace the file at `path` atomically, even if the machine crashes. A missing folder is
    created with access for this user only. Raises `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode != 0o600:
            draft.chmod(mode)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(path: Path) -> None:
    """Remove temporary files of interrupted writes of `path`; those of the last hour may still be
    in use."""
    oldest = time.time() - _DRAFT_SECONDS
    for draft in path.parent.glob(f".{path.name}-*"):
        with suppress(OSError):
            if draft.stat().st_mtime < oldest:
                draft.unlink()


def user_id() -> int | None:
    """The effective user id; None on Windows, where files have no owner id and mode."""
    geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
    return None if geteuid is None else geteuid()
