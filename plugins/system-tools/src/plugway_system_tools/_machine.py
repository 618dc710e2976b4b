"""What the system says about itself: a summary, memory and disks. All of it may block."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import psutil as _psutil

psutil: Any = _psutil
"""It has no types."""
_MOST_DISKS = 50


def summary() -> str:
    """The system, its processors and their load, its uptime, memory and main disk."""
    lines = [
        f"System: {_system()}, {platform.machine()}",
        f"Processors: {psutil.cpu_count() or 'unknown'}, load {_load()}",
        f"Up since: {time.strftime('%Y-%m-%d %H:%M', time.localtime(psutil.boot_time()))}",
        *memory().splitlines(),
        f"Main disk: {_disk(os.path.abspath(os.sep))}",
    ]
    if battery := _battery():
        lines.append(f"Battery: {battery}")
    return "\n".join(lines)


def memory() -> str:
    """Memory and swap space."""
    now, swap = psutil.virtual_memory(), psutil.swap_memory()
    lines = [
        f"Memory: {size(now.total)}, {size(now.available)} available "
        f"({now.percent:.0f} % in use by programs)"
    ]
    if swap.total:
        lines.append(f"Swap: {size(swap.total)}, {size(swap.used)} used ({swap.percent:.0f} %)")
    else:
        lines.append("Swap: none")
    return "\n".join(lines)


def disks() -> str:
    """Every local disk with its space; no network drives, which may not answer."""
    seen: dict[str, str] = {}
    for part in psutil.disk_partitions(all=False):
        if part.device not in seen and len(seen) < _MOST_DISKS:
            seen[part.device] = f"{part.mountpoint} ({part.fstype}): {_disk(part.mountpoint)}"
    root = os.path.abspath(os.sep)
    if not any(line.startswith(f"{root} (") for line in seen.values()):
        seen[root] = f"{root}: {_disk(root)}"
    return "\n".join(" ".join(line.split()) for line in seen.values())


def size(count: float) -> str:
    """A number of bytes, as people read it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB" if count < 1024 else f"{count / 1024:.1f} TiB"


def _disk(path: str) -> str:
    try:
        use = psutil.disk_usage(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return f"{size(use.total)}, {size(use.free)} free ({use.percent:.0f} % used)"


def _system() -> str:
    if platform.system() == "Linux":
        try:
            name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
        except OSError:
            name = "Linux"
        return f"{name} (Linux {platform.release()})"
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {platform.release()}"


def _load() -> str:
    one, five, fifteen = psutil.getloadavg()
    return f"{one:.2f} {five:.2f} {fifteen:.2f} (1, 5, 15 minutes)"


def _battery() -> str:
    found = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if found is None:
        return ""
    return f"{found.percent:.0f} %, {'charging' if found.power_plugged else 'in use'}"
