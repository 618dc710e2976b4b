"""Results of a run with generated inputs: outcomes are counted, and each failure is written to a file
at once, so that nothing is lost if the run is stopped.

    PLUGWAY_MUTATIONS=50000   number of inputs of each kind
    PLUGWAY_SEED=2            use other inputs than the default run
    PLUGWAY_FINDINGS=folder   folder of the files; the default is the one for temporary files
"""

from __future__ import annotations

import gc
import json
import logging
import os
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.slow import SLOW

SEED = os.environ.get("PLUGWAY_SEED") or "1"
FOLDER = Path(os.environ.get("PLUGWAY_FINDINGS") or tempfile.gettempdir())
EVERY = 10_000
MOST_GROWTH = 24 * 2**20


def how_many(usual, slow):
    """Number of inputs to try of each kind: `usual`, `slow` in the slow suite, or as configured."""
    asked = os.environ.get("PLUGWAY_MUTATIONS")
    return int(asked or (slow if SLOW else usual))


def resident():
    """Resident memory of this process, in bytes."""
    gc.collect()
    return psutil.Process().memory_info().rss


class Findings:
    """Results of one run: `found` are the failures, `ends` counts exchanges by outcome."""

    def __init__(self, kind, planned):
        self.kind, self.planned = kind, planned
        self.found, self.ends = [], Counter()
        self.grown = []
        """Growth of memory in bytes since the first sample."""
        self.done, self._base, self._began = 0, 0, time.monotonic()

    def name(self, number):
        """The seed of an input: the same name gives the same input."""
        return f"{self.kind}-{SEED}-{number}"

    def ended(self, how, inputs=1):
        """Count the outcome of one exchange, and its inputs; sample the memory now and then, first
        after a warm-up."""
        self.ends[how] += 1
        before, self.done = self.done, self.done + inputs
        warm = min(EVERY, self.planned // 2)
        if before < warm <= self.done:
            self._base = resident()
        elif before // EVERY < self.done // EVERY or before < self.planned <= self.done:
            self.grown.append(resident() - self._base)
            if self.planned >= EVERY:
                self._write("figures", done=self.done, ends=dict(self.ends), grown=self.grown)

    def add(self, **details):
        """Record a failure; bytes in the details are written as Latin-1."""
        self.found.append(details)
        self._write("found", **details)

    def _write(self, what, **details):
        line = {"kind": self.kind, "seed": SEED, "seconds": round(time.monotonic() - self._began)}
        with (FOLDER / f"plugway-{what}-{self.kind}-{SEED}.jsonl").open("a") as file:
            file.write(json.dumps({**line, **details}, default=_readable) + "\n")

    def check(self):
        """Raises if there were failures, or if memory kept growing."""
        where = f"seed {SEED}; all in {FOLDER / f'plugway-found-{self.kind}-{SEED}.jsonl'}"
        some = "\n".join(map(repr, self.found[:20]))
        assert not self.found, f"{len(self.found)} of {self.done} ({where})\n{some}"
        most = max(self.grown) / 2**20
        assert most < MOST_GROWTH / 2**20, f"{most:.1f} MiB more (seed {SEED})"


class Log(logging.Handler):
    """Collects logged errors: there should be none."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.found = []

    def emit(self, record):
        trace = record.exc_info[1] if record.exc_info else None
        self.found.append(f"{record.name}: {record.getMessage()} {trace!r}")


@contextmanager
def errors_logged():
    """The errors that are logged meanwhile; lower levels are off, because pytest keeps each record."""
    found = Log()
    logging.getLogger().addHandler(found)
    logging.disable(logging.WARNING)
    try:
        yield found
    finally:
        logging.disable(logging.NOTSET)
        logging.getLogger().removeHandler(found)


def _readable(value):
    return value.decode("latin-1") if isinstance(value, bytes) else repr(value)
