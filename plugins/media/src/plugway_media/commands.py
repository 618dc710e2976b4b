"""For commands: files and pipes, a progress bar, and an engine without a gateway."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plugway_media.engine import Engine, EngineSpec
from plugway_media.files import create

# Names of files are text of others, not markup.
_talk = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)


def read_input(place: str, *, max_bytes: int) -> bytes:
    """The bytes of a file, or of standard input for `-`; exits with a message if that fails."""
    if place == "-" and sys.stdin is None:
        fail("standard input is closed: name a file")
    try:
        if place == "-":
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        fail(f"cannot read {place}: {error.strerror or error}")
    if len(data) > max_bytes:
        fail(f"{place} has more than {max_bytes:,} bytes")
    return data


def to_terminal() -> bool:
    """Whether standard output is a terminal; exits with a message if it is closed."""
    if sys.stdout is None:
        fail("standard output is closed: name a file")
    return sys.stdout.isatty()


def check_output(place: str, *, force: bool) -> None:
    """Before minutes of work, find what would prevent `write_output`, also a file that only `force`
    overwrites; exits with a message."""
    if place == "-":
        if to_terminal():
            fail(
                "the output is binary: name a file, or send it to another program with `| program`"
            )
        return
    path = Path(place)
    try:
        _check_path(path, force=force)
    except OSError as error:  # such as a name that is too long
        fail(f"cannot write {path}: {error.strerror or error}")


def _check_path(path: Path, *, force: bool) -> None:
    if path.is_dir():
        fail(f"cannot write {path}: it is a folder")
    if path.exists() and not path.is_file():  # `--force` would put a file in the place of a device
        fail(f"cannot write {path}: it is not a file; `-` is a pipe")
    if (path.exists() or path.is_symlink()) and not force:
        fail(f"{path} exists already: name another file, or add `--force` to overwrite it")
    if not path.parent.is_dir():
        fail(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        fail(f"cannot write {path}: no permission to create files in {path.parent}")


def write_output(place: str, pieces: Iterable[bytes], *, force: bool) -> None:
    """Write bytes to a file, or to standard output for `-`, after `check_output`. A file is
    complete or as it was. Exits with a message if that fails."""
    try:
        if place == "-":
            sys.stdout.buffer.writelines(pieces)
            sys.stdout.buffer.flush()
        else:
            create(Path(place), pieces, replace=force)
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # the reader has enough
            sys.stdout.close()
    except FileExistsError:
        fail(f"{place} exists now: another program created it; nothing is overwritten")
    except OSError as error:
        fail(f"cannot write {place}: {error.strerror or error}")


@contextmanager
def progress(what: str, total: float | None) -> Generator[Callable[..., None]]:
    """A progress bar on standard error, if that is a terminal; call what it yields with how much is
    done, and of how much if that was not known before. Without a `total` it only shows that
    something is done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    hidden = not _talk.is_terminal
    with Progress(*columns, console=_talk, transient=True, disable=hidden) as bars:
        task = bars.add_task(what, total=total)

        def report(done: float, of: float | None = None) -> None:
            bars.update(task, completed=done, total=of)

        yield report


@asynccontextmanager
async def own_engine(name: str, spec: EngineSpec) -> AsyncGenerator[Engine]:
    """An engine in a worker of its own, which ends with the command."""
    engine = Engine(name, spec)
    try:
        yield engine
    finally:
        await engine.aclose()


def fail(message: str) -> NoReturn:
    """Print a message to standard error, and exit with the status 1. Names of files in it are text
    of others, which may control a terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message)
    _talk.print(f"plugway: {shown}")
    raise typer.Exit(1)
