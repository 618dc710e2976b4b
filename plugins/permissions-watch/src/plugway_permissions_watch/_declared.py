"""Whether what was used is what a package declares."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from plugway import Secret
from plugway_packages import Permissions
from plugway_permissions_watch._events import Use

_SYSTEM: Final = (
    *("/usr", "/lib", "/lib64", "/proc/self", "/etc/ssl", "/etc/pki"),
    *("/etc/localtime", "/etc/mime.types", "/etc/hosts", "/etc/resolv.conf"),
)
"""Where Python and its libraries read what belongs to nobody."""
_FREE: Final = {os.devnull, "/dev/urandom", "/dev/random"}
_HOMES: Final = {
    "~/.config": "XDG_CONFIG_HOME",
    "~/.cache": "XDG_CACHE_HOME",
    "~/.local/share": "XDG_DATA_HOME",
    "~/.local/state": "XDG_STATE_HOME",
}


def python_folders() -> tuple[str, ...]:
    """The folders of this Python and what is installed in it, which every import reads."""
    paths = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()}
    home = os.path.expanduser("~")
    paths |= {entry for entry in sys.path if os.path.isabs(entry) and not _covers(entry, home)}
    paths |= {sys.pycache_prefix} if sys.pycache_prefix else set()
    return tuple(sorted(os.path.realpath(path) for path in paths))


@dataclass(frozen=True, slots=True)
class Declared:
    """What one package declares, with the options of its plugins put in."""

    permissions: Permissions
    options: Sequence[Mapping[str, Any]]
    """The options of each of its plugins that the configuration lists."""
    own: Sequence[str]
    """The folders of its modules."""
    python: Sequence[str] = field(default_factory=python_folders, repr=False)

    def allows(self, use: Use, names: Iterable[str] = ()) -> bool:
        """Whether it is declared. `names` are those that an address was found under."""
        if use.kind == "host":
            return any(self._host(name) for name in (use.value, *names))
        if use.kind == "process":
            return self._process(use.value)
        return use.kind == "file" and self._file(use)

    def _host(self, host: str) -> bool:
        patterns = [*self._values(self.permissions.hosts), *getproxies().values()]
        return any(fnmatchcase(host, _host_of(pattern)) for pattern in patterns)

    def _process(self, program: str) -> bool:
        name = os.path.basename(program).removesuffix(".exe")
        return any(
            fnmatchcase(program, os.path.expanduser(pattern)) or fnmatchcase(name, pattern)
            for pattern in self._values(self.permissions.processes)
        )

    def _file(self, use: Use) -> bool:
        path, folders = os.path.realpath(use.value), list(self._folders())
        if path in _FREE or any(_covers(folder, path) for folder in folders):
            return True
        if use.access == "makes":
            return any(_covers(path, folder) for folder in folders)
        return use.access == "reads" and self.is_code(path)

    def is_code(self, path: str) -> bool:
        """Whether a file belongs to the package, to Python or to the system."""
        return any(_covers(folder, path) for folder in (*_SYSTEM, *self.own, *self.python))

    def _folders(self) -> Iterator[str]:
        for pattern in self._values(self.permissions.files):
            plain = pattern.rstrip("*")
            for start, variable in _HOMES.items():
                if plain.startswith(start) and os.environ.get(variable):
                    plain = os.environ[variable] + plain.removeprefix(start)
            yield os.path.realpath(os.path.expanduser(plain or "/"))

    def _values(self, patterns: Iterable[str]) -> Iterator[str]:
        """The patterns, with the values of an option in place of its name."""
        for pattern in patterns:
            if not pattern.startswith("{"):
                yield pattern
                continue
            for options in self.options:
                yield from _texts(options.get(pattern[1:-1]))


def _host_of(text: str) -> str:
    """The host of a URL, or a host as it is declared."""
    found = urlsplit(text).hostname if "://" in text else text.strip("[]")
    return (found or "").lower()


def _covers(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/\\") + os.sep)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in cast("Mapping[object, object]", value).values():
            yield from _texts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in cast("Iterable[object]", value):
            yield from _texts(item)
    elif value and not isinstance(value, bool | int | float | Secret):
        yield str(value)
