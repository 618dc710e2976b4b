"""Files that are created: never half of one, and never over another without the user's word."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path


def create(path: Path, pieces: Iterable[bytes], *, replace: bool = False) -> None:
    """Create a file with these bytes. Raises `FileExistsError`, unless it may `replace` one."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
        put(part, path, replace)
    finally:
        part.unlink(missing_ok=True)


def put(part: Path, path: Path, replace: bool) -> None:
    """Give a complete file its name. Raises `FileExistsError`, unless it may `replace` one, whose
    permissions it then gets."""
    old = path.lstat().st_mode if replace and path.is_file() and not path.is_symlink() else None
    part.chmod(0o666 & ~_umask() if old is None else stat.S_IMODE(old))
    if not replace:
        _claim(path)
    part.replace(path)


def _claim(path: Path) -> None:
    """Create an empty file under a name that nobody else has then."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
