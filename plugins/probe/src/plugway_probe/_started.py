"""A gateway that runs only as long as it is tried."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from plugway import LocalGateway, PlugwayError
from plugway_claude_client import plugway_command

_START_SECONDS: Final = 30.0


@contextmanager
def started(config: Path | None) -> Generator[LocalGateway]:
    """A gateway on a free port, for the duration of the block. Raises `PlugwayError`."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    gateway = LocalGateway.find(config, port)
    words = [plugway_command(), "serve", "--port", str(port)]
    words += ["--config", str(gateway.config_path)] if gateway.configured else []
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + _START_SECONDS
            while gateway.state() is None:
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read().decode("utf-8", "replace").strip()[-1000:]
                    raise PlugwayError(f"the gateway did not start: {said}")
                _wait(child, 0.1)
            yield gateway
        finally:
            child.send_signal(signal.SIGTERM)
            _wait(child, _START_SECONDS)
            child.kill()


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        return
