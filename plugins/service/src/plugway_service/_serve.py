"""Runs `plugway serve` as a service: its environment, its log, and the report that it is ready."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from plugway import LocalGateway, PlugwayError

_POLL_SECONDS: Final = 0.02


def serve(config: Path | None, port: int | None, environment: Path | None) -> NoReturn:
    """Run the gateway in this process, and exit with its status."""
    if environment is not None:
        os.environ |= variables_in(environment)
    # Programs that the gateway starts must not report for it.
    if target := os.environ.pop("NOTIFY_SOCKET", ""):
        wait = (target, config, port)
        threading.Thread(target=_report_ready, args=wait, daemon=True).start()
    words = ["serve", *(["--config", str(config)] if config else [])]
    words += ["--port", str(port)] if port is not None else []
    (command,) = entry_points(group="console_scripts", name="plugway")
    command.load()(words)
    sys.exit(1)  # not reached: the command exits


def variables_in(path: Path) -> dict[str, str]:
    """The variables of an environment file, which has lines `NAME=value` and comments; empty if
    there is none. Raises `PlugwayError`."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise PlugwayError(f"cannot read `{path}`: {error}") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise PlugwayError(f"`{path}`, line {number}: expected `NAME=value`")
        try:
            found[name.strip()] = " ".join(shlex.split(value))
        except ValueError as error:
            # The value may be a key, so it is not shown.
            raise PlugwayError(f"`{path}`, line {number}: {str(error).lower()}") from None
    return found


def _report_ready(target: str, config: Path | None, port: int | None) -> None:
    """Tell systemd once this process answers; `sd_notify(3)`.

    It asks for the process id, because another gateway may listen on the port.
    """
    try:
        gateway = LocalGateway.find(config, port)
    except PlugwayError:
        return  # the gateway says why, and exits
    address = urlsplit(gateway.url)
    pause = threading.Event()
    while not pause.wait(_POLL_SECONDS):
        try:
            # Asking takes time from the start itself, so first see whether anything listens.
            socket.create_connection((str(address.hostname), gateway.port), timeout=1).close()
            state = gateway.state() or {}
        except (OSError, PlugwayError):
            continue  # it does not answer yet, or another program does
        if state.get("pid") == os.getpid():
            notify(target, f"READY=1\nSTATUS=answers at {gateway.url}")
            return


def notify(target: str, text: str) -> None:
    """Send one datagram to systemd's socket; `@` begins an abstract address."""
    address = f"\0{target[1:]}" if target.startswith("@") else target
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(text.encode(), address)
