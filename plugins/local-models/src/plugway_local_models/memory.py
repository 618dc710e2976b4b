"""Memory of this machine, or of the container that the gateway runs in.

Not imported with the package, because psutil is only needed where memory is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from plugway_local_models._protocols import Memory

_ROOT: Final = Path("/")
_UNLIMITED: Final = 1 << 60
"""cgroup v1 reports a number near 2**63 where nothing is limited."""


def read_memory(root: Path = _ROOT) -> Memory:
    """The machine's memory, or less where a control group of this process limits it. `root` is the
    folder of `proc` and `sys`.

    Raises:
        OSError: the system does not report its memory.
    """
    try:
        machine = psutil.virtual_memory()
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise OSError(f"the memory of this machine cannot be measured: {error!r}") from error
    total, available = int(machine.total), int(machine.available)
    if total <= 0:
        raise OSError("the memory of this machine cannot be measured: the system reports 0 bytes")
    for group in control_groups(root):
        limit, used = group.limit(), group.used()
        if limit is not None and used is not None:
            total, available = min(total, limit), min(available, max(0, limit - used))
    return Memory(total, available)


def available_memory() -> int:
    """Bytes that are available without swapping, within a container's limit."""
    return read_memory().available


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A folder of the kernel's memory controller.

    The files are described in `Documentation/admin-guide/cgroup-v2.rst` and
    `cgroup-v1/memory.rst` of Linux.
    """

    folder: Path
    version: int

    def limit(self) -> int | None:
        """Most bytes that the group may use; None without a limit."""
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        limit = _number(self.folder / name)
        return limit if limit is not None and limit < _UNLIMITED else None

    def used(self) -> int | None:
        """Bytes that the group uses, without cached files, which the kernel gives up first."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        used = _number(self.folder / name)
        if used is None:
            return None
        stat = _table(self.folder / "memory.stat")
        prefix = "" if self.version == 2 else "total_"
        cached = sum(stat.get(f"{prefix}{name}", 0) for name in ("active_file", "inactive_file"))
        return max(0, used - cached)


def control_groups(root: Path = _ROOT) -> Iterator[ControlGroup]:
    """The memory control groups that limit this process, its own first, then those around it."""
    for number, controllers, path in _memberships(root / "proc/self/cgroup"):
        if number == "0" and not controllers:
            base, version = root / "sys/fs/cgroup", 2
        elif "memory" in controllers.split(","):
            base, version = root / "sys/fs/cgroup/memory", 1
        else:
            continue
        # In a container, the path may lead out of what is mounted there.
        own = base if ".." in path else base / path.strip("/")
        for folder in (own, *own.parents):
            if folder.is_dir():
                yield ControlGroup(folder, version)
            if folder == base:
                break


def _memberships(file: Path) -> Iterator[tuple[str, str, str]]:
    """(number, controllers, path) of each hierarchy that the process is in (`cgroups(7)`)."""
    for line in _text(file).splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield parts[0], parts[1], parts[2]


def _table(file: Path) -> Mapping[str, int]:
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
