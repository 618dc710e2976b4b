"""The configuration as a file: read and replaced as its user keeps it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from plugway import write_file
from plugway_mcp._definitions import state_folder
from plugway_mcp._edit import CannotEdit


@contextmanager
def locked() -> Generator[None]:
    """Other commands that change the configuration wait; on Windows they do not."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows
    except ImportError:
        yield
        return
    path = state_folder() / "configuration.lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read(path: Path) -> str:
    """The text with its ends of lines and its byte order mark. Raises `CannotEdit`."""
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise CannotEdit(f"it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CannotEdit("it is not UTF-8 text") from None


def replace(path: Path, text: str, check: Callable[[Path], None]) -> None:
    """Write the text; `check` gets a draft before. A link stays a link, and a file that is
    read-only is not touched. Raises `CannotEdit`."""
    path = Path(os.path.realpath(path))
    draft = path.with_name(f".{path.name}.draft-{os.getpid()}")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        if not mode & 0o222 or (path.exists() and not os.access(path, os.W_OK)):
            raise CannotEdit("it is read-only")
        try:
            write_file(draft, text.encode(), mode=mode)
            check(draft)
        finally:
            draft.unlink(missing_ok=True)
        write_file(path, text.encode(), mode=mode)
    except OSError as error:
        raise CannotEdit(f"it cannot be written: {error.strerror}") from None
