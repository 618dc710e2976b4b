"""Run Claude Code with settings of its own, and leave nothing behind."""

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
    """Run it to its end and return its exit status.

    The settings hold the gateway's token, so they go into files that only this user can read, for
    as long as the client runs, and not onto the command line, which every user can see.
    """
    with tempfile.TemporaryDirectory(prefix="plugway-claude-") as name:
        words = [binary, "--settings", _written(Path(name, "settings.json"), settings)]
        if mcp is not None:
            servers = {"mcpServers": {"plugway": mcp}}
            # `=`: the option takes several files, and would take the words after it for more
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
    """Ctrl-C is the client's business, who gets it from the terminal as well; an end that is asked
    of us is asked of the client, and what is to be cleaned up comes after it."""
    children: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            child.send_signal(number)

    def leave(number: int, frame: FrameType | None) -> None:
        """Ctrl-C: nothing to be done here."""

    ends = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, pass_on) for number in ends}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, leave)
    try:
        yield children
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
