"""Processes, and the ports that they listen on. All of it may block.

No environment is read: it often holds keys.
"""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from plugway_system_tools._machine import psutil, size
from plugway_system_tools._options import ProcessArguments
from plugway_system_tools._redaction import command_line

SAMPLE_SECONDS: Final = 0.33
"""The time in which CPU use is measured."""
_MOST_PORTS: Final = 200

Processes = Sequence[Any]


def started() -> Processes:
    """All processes; the measurement of their CPU time begins."""
    found = list(psutil.process_iter())
    for process in found:
        _cpu(process)
    return found


def listing(found: Processes, asked: ProcessArguments, *, command_lines: bool) -> str:
    """A table of processes."""
    rows = [row for process in found if (row := _row(process, cpu=asked.sort == "cpu")) is not None]
    wanted = [row for row in rows if asked.search.lower() in str(row["name"]).lower()]
    if asked.sort == "name":
        wanted.sort(key=lambda row: (str(row["name"]).lower(), row["pid"]))
    else:
        wanted.sort(key=lambda row: row[asked.sort], reverse=True)
    shown = wanted[: asked.limit]
    head = f"{len(shown)} of {len(wanted)} processes"
    if asked.search:
        head += f" whose name contains {asked.search!r} ({len(rows)} in all)"
    return "\n".join([f"{head}:", *(_line(row, asked.sort, command_lines) for row in shown)])


def ports(port: int | None) -> str:
    """The TCP ports that listen and the UDP ports that are open, with their processes."""
    owners: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    addresses: defaultdict[tuple[int, str], set[str]] = defaultdict(set)
    names: dict[int, str] = {}
    for found, pid in _connections():
        kind = "tcp" if found.type == socket.SOCK_STREAM else "udp"
        is_open = found.status == psutil.CONN_LISTEN if kind == "tcp" else not found.raddr
        if not is_open or not found.laddr or port not in (None, found.laddr.port):
            continue
        key = (int(found.laddr.port), kind)
        addresses[key].add(str(found.laddr.ip))
        owners[key].add(_owner(pid, names))
    if not addresses:
        return "No port is listening" if port is None else f"Nothing listens on port {port}"
    lines = [
        f"{number}/{kind} on {_list(addresses[number, kind])}: {_list(owners[number, kind])}"
        for number, kind in sorted(addresses)
    ]
    hidden = len(lines) - _MOST_PORTS
    more = [f"and {hidden} more; ask for one `port`"] if hidden > 0 else []
    return "\n".join([*lines[:_MOST_PORTS], *more])


def _connections() -> list[tuple[Any, int | None]]:
    """Open sockets and their processes; without rights for all (macOS), those of our user."""
    try:
        return [(found, found.pid) for found in psutil.net_connections(kind="inet")]
    except psutil.AccessDenied:
        pass
    result: list[tuple[Any, int | None]] = []
    for process in psutil.process_iter():
        try:
            result += [(found, process.pid) for found in process.net_connections(kind="inet")]
        except psutil.Error:
            continue
    return result


def _owner(pid: int | None, names: dict[int, str]) -> str:
    if pid is None:
        return "a process that is not visible"
    if pid not in names:
        try:
            names[pid] = _plain(psutil.Process(pid).name())
        except psutil.Error:
            names[pid] = "unknown"
    return f"{names[pid]} (pid {pid})"


def _list(words: set[str]) -> str:
    return ", ".join(sorted(words))


def _cpu(process: Any) -> float:
    try:
        return float(process.cpu_percent(None))
    except psutil.Error:
        return 0.0


def _row(process: Any, *, cpu: bool) -> Mapping[str, Any] | None:
    """What is known about a process; None if it has ended."""
    try:
        with process.oneshot():
            return {
                "process": process,
                "pid": process.pid,
                "name": _plain(process.name()),
                "memory": _known(lambda: process.memory_info().rss, 0),
                "cpu": process.cpu_percent(None) if cpu else 0.0,
                "user": _plain(_known(process.username, "?")),
                "since": process.create_time(),
            }
    except psutil.Error:
        return None


def _known(ask: Any, otherwise: Any) -> Any:
    try:
        return ask()
    except (psutil.AccessDenied, KeyError):
        return otherwise


def _line(row: Mapping[str, Any], sort: str, command_lines: bool) -> str:
    facts = [f"pid {row['pid']}", size(row["memory"])]
    if sort == "cpu":
        facts.append(f"{row['cpu']:.0f} % of a processor")
    facts += [f"user {row['user']}", time.strftime("%m-%d %H:%M", time.localtime(row["since"]))]
    line = f"{row['name']}: {', '.join(facts)}"
    if command_lines:
        try:
            shown = command_line(row["process"].cmdline())
        except psutil.Error:
            shown = ""
        line += f": {shown}" if shown else ""
    return line


def _plain(text: str) -> str:
    """A name in one line."""
    return " ".join(text.split())[:100] or "?"
