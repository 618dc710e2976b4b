"""How long programs had to wait for memory: the pressure information of Linux (PSI).

The files are described in `Documentation/accounting/psi.rst` of Linux; without them nothing is
measured.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from plugway_local_models.memory import control_groups

_TOTAL: Final = re.compile(r"^some .*\btotal=(\d+)", re.MULTILINE)


class Stall:
    """The share of time in which some program waited for memory since the last look."""

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        """`root` is the folder of `proc` and `sys`."""
        self._clock = clock
        folders = [group.folder for group in control_groups(root)]
        files = [*(folder / "memory.pressure" for folder in folders), root / "proc/pressure/memory"]
        self._file = next((file for file in files if file.is_file()), None)
        self._last = self._look()

    def share(self) -> float:
        """Between 0 and 1; 0 if it cannot be measured."""
        (total, when), self._last = self._last, self._look()
        waited, passed = self._last[0] - total, self._last[1] - when
        return min(1.0, max(0.0, waited / passed)) if passed > 0 else 0.0

    def _look(self) -> tuple[float, float]:
        """Seconds of waiting since the start of the system, and the time."""
        try:
            text = self._file.read_text(encoding="ascii") if self._file else ""
        except (OSError, ValueError):
            text = ""
        match = _TOTAL.search(text)
        return (int(match[1]) / 1e6 if match else 0.0), self._clock()
