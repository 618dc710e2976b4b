"""Runs commands of the system, such as `systemctl`, with a time limit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from plugway import PlugwayError

_SECONDS: Final = 150.0
"""Longer than a service may take to start or stop."""


def run(words: Sequence[str], seconds: float = _SECONDS) -> subprocess.CompletedProcess[str]:
    """Run a command; its messages are in English. Raises `PlugwayError` if it cannot be run."""
    try:
        return subprocess.run(
            list(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
        )
    except FileNotFoundError:
        raise PlugwayError(f"the command `{words[0]}` is missing") from None
    except subprocess.TimeoutExpired:
        raise PlugwayError(f"`{' '.join(words)}` timed out after {seconds:g} s") from None
    except OSError as error:
        raise PlugwayError(f"cannot run `{words[0]}`: {error.strerror}") from None


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The first line that a command wrote about a failure."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[0].strip() if lines else f"exit status {done.returncode}"
