"""Runs Claude Code with temporary settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


def run_client(
    binary: str,
    arguments: Sequence[str],
    settings: Mapping[str, Any],
    mcp: Mapping[str, Any] | None,
) -> int:
    """Run the client and return its exit status.

    The settings contain the gateway's token. They are written to files that only this user can
    read, for as long as the client runs, because the command line is visible to all users.
    """
    with tempfile.TemporaryDirectory(prefix="plugway-claude-") as name:
        words = [binary, "--settings", _written(Path(name, "settings.json"), settings)]
        if mcp is not None:
            servers = {"mcpServers": {"plugway": mcp}}
            # `=`: the option accepts several files, and would also take the next arguments
            words.append(f"--mcp-config={_written(Path(name, 'mcp.json'), servers)}")
        with _signals_passed_on() as child_of:
            child = subprocess.Popen([*words, *arguments])
            child_of.append(child)
            status = child.wait()
    return 128 - status if status < 0 else status


def _written(path: Path, document: Mapping[str, Any]) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return str(path)


@contextmanager
def _signals_passed_on() -> Generator[list[subprocess.Popen[bytes]]]:
    """Forward termination signals to the client, and clean up after it.

    The terminal sends Ctrl-C to the client as well, so it is ignored here.
    """
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    def leave(number: int, frame: FrameType | None) -> None:
        """Ignore Ctrl-C."""

    ends = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, pass_on) for number in ends}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, leave)
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
