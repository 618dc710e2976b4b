"""Start and end a worker's process, and describe its exit.

See `_supervisor` for how it is watched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path
from typing import BinaryIO, Final

_KEPT_ENVIRONMENT: Final = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV"),
        *("XDG_CACHE_HOME", "XDG_DATA_HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"),
    }
)
"""Environment variables that a worker gets: no key, no token."""


_LAST_BYTES: Final = 65_536
_GAVE_UP: Final = re.compile(
    r"GGML_ASSERT|GGML_ABORT|\bwhat\(\):|bad_alloc|(?:CUDA|HIP|Metal|Vulkan) error|out of memory"
)
"""Messages of ggml, C++ and accelerator drivers before they end the process."""


async def spawn(log: BinaryIO) -> asyncio.subprocess.Process:
    """Start a worker in its own session, with pipes for frames, and `log` for its output."""
    environment = {k: v for k, v in os.environ.items() if k.upper() in _KEPT_ENVIRONMENT}
    # `-P`: nothing is imported from the current folder, which is the user's project.
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        str(Path(__file__).with_name("_boot.py")),
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,
    )


def end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole session: programs that an engine has started may outlive its process."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()


def open_log(path: Path) -> BinaryIO:
    """The worker's log, truncated if it has grown large."""
    path.parent.mkdir(parents=True, exist_ok=True)
    large = path.is_file() and path.stat().st_size > 4 * 1024 * 1024
    return path.open("wb" if large else "ab")


def last_words(path: Path, start: int) -> str:
    """The line of a log, from byte `start` on, in which a native library reports a fatal error;
    empty if there is none. Other lines are ignored, because they may contain anything."""
    with contextlib.suppress(OSError), path.open("rb") as log:
        log.seek(max(start, path.stat().st_size - _LAST_BYTES))
        lines = log.read().decode("utf-8", "replace").splitlines()
        return next((line.strip()[:300] for line in lines[::-1] if _GAVE_UP.search(line)), "")
    return ""


def exit_text(code: int | None) -> str:
    """How a process ended, as text."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
