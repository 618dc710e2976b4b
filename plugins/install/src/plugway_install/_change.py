"""A change of the environment that is complete or undone, even if the machine stops.

Before the change, the files that it replaces are linked into a folder, with a journal. An error,
Ctrl-C or the next command after a crash puts them back.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import sysconfig
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from plugway import PlugwayError, as_list

_JOURNAL = "journal.json"


def change_folder() -> Path:
    """The folder of the change in progress."""
    return Path(sys.prefix, ".plugway-install")


@contextmanager
def undone_on_failure(old: Iterable[Path], new: Iterable[Path]) -> Generator[None]:
    """Run a block that may replace or remove the files `old` and create the files `new`.

    Raises `PlugwayError`: another change is in progress, or the environment is read-only.
    """
    folder = change_folder()
    try:
        folder.mkdir()
    except FileExistsError:
        raise PlugwayError(f"another installation is in progress ({folder})") from None
    except OSError as error:
        reason = f"cannot write to the environment {sys.prefix}: {error.strerror}"
        raise PlugwayError(f"{reason}. Install as the user that owns it") from None
    try:
        targets = list(new)
        _record(folder, [*old, *(path for path in targets if path.is_file())], targets)
        yield
    except BaseException:
        with _undisturbed():
            _undo(folder)
        raise
    (folder / _JOURNAL).unlink()
    shutil.rmtree(folder)


def recover() -> bool:
    """Undo a change that was cut off by a crash; returns whether there was one."""
    folder = change_folder()
    if not folder.is_dir():
        return False
    with suppress(OSError, ValueError):
        process = int((folder / "pid").read_text())
        if process != os.getpid() and _runs(process):
            raise PlugwayError(f"another installation is in progress (process {process})")
    _undo(folder)
    return True


def _record(folder: Path, old: list[Path], new: list[Path]) -> None:
    (folder / "pid").write_text(str(os.getpid()))
    kept: list[tuple[str, str]] = []
    for number, path in enumerate(dict.fromkeys(old)):
        copy = folder / str(number)
        try:
            os.link(path, copy)  # needs no space; pip replaces files and does not write into them
        except OSError:
            shutil.copy2(path, copy)
        kept.append((str(path), copy.name))
    journal = {"old": kept, "new": [str(path) for path in new], "there": sorted(_leftovers())}
    draft = folder / "draft"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(journal, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / _JOURNAL)


def _undo(folder: Path) -> None:
    """Put the files back, and remove the folder. Without a journal nothing was changed yet."""
    with suppress(FileNotFoundError):
        journal = json.loads((folder / _JOURNAL).read_text("utf-8"))
        old = {Path(path): folder / name for path, name in journal["old"]}
        for path in map(Path, journal["new"]):
            if path not in old and not path.is_dir():  # a folder was there before
                path.unlink(missing_ok=True)
        for path, copy in old.items():
            if copy.exists():  # it was put back already by an attempt that was cut off
                path.parent.mkdir(parents=True, exist_ok=True)
                copy.replace(path)
        for path in _leftovers() - set(as_list(journal["there"])):
            shutil.rmtree(path, ignore_errors=True)
        _remove_empty(path.parent for path in map(Path, journal["new"]))
        (folder / _JOURNAL).unlink()
    shutil.rmtree(folder)


def _leftovers() -> set[str]:
    """The folders to which pip moves files of a package while it replaces it."""
    roots = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return {str(path) for root in roots for path in Path(root).glob("~*")}


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders that a package left behind, and pip's own files in a `.dist-info`."""
    keep = {Path(path) for path in sysconfig.get_paths().values()} | {Path(sys.prefix)}
    for folder in sorted(set(folders), key=lambda path: -len(path.parts)):
        if folder.name.endswith(".dist-info") and not (folder / "METADATA").exists():
            shutil.rmtree(folder, ignore_errors=True)
        while folder not in keep and folder.is_dir() and not _filled(folder):
            shutil.rmtree(folder)
            folder = folder.parent


def _filled(folder: Path) -> bool:
    return any(path.name != "__pycache__" for path in folder.iterdir())


def _runs(process: int) -> bool:
    if sys.platform == "win32":
        return False  # `os.kill` would end it there; two changes at once are unlikely
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _undisturbed() -> Generator[None]:
    """Ignore Ctrl-C for a moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
