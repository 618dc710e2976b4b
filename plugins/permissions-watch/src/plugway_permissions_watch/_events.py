"""What Python's audit events say: hosts, files, programs and native code that are used.

The events are listed in docs.python.org, "Audit events table".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, cast

Kind = Literal["host", "file", "process", "native"]
Access = Literal["reads", "writes", "makes"]
"""`makes` is for a folder."""

_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Use(NamedTuple):
    """One thing that was used."""

    kind: Kind
    value: str
    """The host or its address, the absolute path, or the program."""
    access: Access = "reads"
    """What is done with a file."""


def uses(event: str, args: tuple[Any, ...]) -> Iterable[Use]:
    """What an audit event says was used."""
    read = READERS.get(event)
    return read(args) if read is not None else ()


def _host(address: object) -> Iterable[Use]:
    if isinstance(address, tuple):
        host = next(iter(cast("tuple[object, ...]", address)), None)
        if isinstance(host, str | bytes) and host:
            yield Use("host", _text(host).lower())
    else:
        yield from _path(address, "writes")  # a socket in the file system


def _open(args: tuple[Any, ...]) -> Iterable[Use]:
    path, mode, flags = args[:3]
    by_mode = isinstance(mode, str)
    writes = not set(mode).isdisjoint("wax+") if by_mode else bool(flags & _WRITES)
    return _path(path, "writes" if writes else "reads")


def _path(path: object, access: Access, folder: object = -1) -> Iterable[Use]:
    """A file; nothing for one that is named by its descriptor, which was opened before."""
    if path is None or isinstance(path, int):
        return
    text = _text(os.fspath(cast("str", path)))
    if isinstance(folder, int) and folder >= 0 and not os.path.isabs(text):
        with suppress(OSError, ValueError):  # only Linux says what a descriptor is open for
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    if text and not text.startswith(":"):  # a database in memory
        yield Use("file", os.path.abspath(text), access)


def _program(name: Any, words: Any = ()) -> Iterable[Use]:
    given: list[Any] = [name, *(words or ())]
    for program in [item for item in given if item is not None][:1]:
        yield Use("process", _text(os.fspath(cast("str", program))))


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else os.fsdecode(value)


def _changes(
    *places: int, folder: int | None = None, access: Access = "writes"
) -> Callable[[tuple[Any, ...]], Iterable[Use]]:
    """Reads an event whose arguments at these places are paths that are changed."""

    def read(args: tuple[Any, ...]) -> Iterable[Use]:
        for place in places:
            base = args[folder] if folder is not None and folder < len(args) else -1
            yield from _path(args[place], access, base)

    return read


READERS: Final[Mapping[str, Callable[[tuple[Any, ...]], Iterable[Use]]]] = {
    "socket.connect": lambda args: _host(args[1]),
    "socket.sendto": lambda args: _host(args[1]),
    "socket.sendmsg": lambda args: _host(args[1]),
    "socket.getaddrinfo": lambda args: _host((args[0],)),
    "socket.gethostbyname": lambda args: _host((args[0],)),
    "open": _open,
    "os.listdir": lambda args: _path(args[0], "reads"),
    "os.scandir": lambda args: _path(args[0], "reads"),
    "sqlite3.connect": lambda args: _path(args[0], "writes"),
    "os.chmod": _changes(0, folder=2),
    "os.chown": _changes(0, folder=3),
    "os.link": _changes(0, 1),
    "os.mkdir": _changes(0, folder=2, access="makes"),
    "os.remove": _changes(0, folder=1),
    "os.rename": _changes(0, 1),
    "os.rmdir": _changes(0, folder=1),
    "os.symlink": _changes(0, 1),
    "os.truncate": _changes(0),
    "os.utime": _changes(0, folder=3),
    "shutil.rmtree": _changes(0, folder=1),
    "subprocess.Popen": lambda args: _program(args[0], args[1]),
    "os.exec": lambda args: _program(args[0]),
    "os.posix_spawn": lambda args: _program(args[0]),
    "os.spawn": lambda args: _program(args[1]),
    "os.startfile": lambda args: _program(args[0]),
    "os.system": lambda args: _program("sh"),
    "pty.spawn": lambda args: _program(None, args[0]),
    "ctypes.dlopen": lambda args: [Use("native", _text(args[0]))] if args[0] else [],
}
"""How to read each event. Others are ignored; an argument may be anything."""
