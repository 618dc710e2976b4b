"""What a run of generated inputs finds: how they end is counted, and each that is answered wrongly
is written to a file at once, so that a run which is stopped loses nothing.

    PLUGWAY_MUTATIONS=50000   how many inputs of each kind
    PLUGWAY_SEED=2            other inputs than those of the default run
    PLUGWAY_FINDINGS=folder   where files are written; the folder for temporary files by default
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

SEED = os.environ.get("PLUGWAY_SEED") or "1"
FOLDER = Path(os.environ.get("PLUGWAY_FINDINGS") or tempfile.gettempdir())
EVERY = 10_000
MOST_GROWTH = 24 * 2**20


def how_many(usual, slow):
    """How many inputs of each kind are tried: `usual`, `slow` by the slow suite, or as asked."""
    asked = os.environ.get("PLUGWAY_MUTATIONS")
    return int(asked or (slow if os.environ.get("PLUGWAY_SLOW") == "1" else usual))


def resident():
    """The bytes of memory that this process holds."""
    gc.collect()
    return psutil.Process().memory_info().rss


class Findings:
    """Of one run: `found` is what was wrong, `ends` how many exchanges ended in each way."""

    def __init__(self, kind, planned):
        self.kind, self.planned = kind, planned
        self.found, self.ends = [], Counter()
        self.grown = []
        """Bytes of memory since the first look, at each look after it."""
        self.done, self._base, self._began = 0, 0, time.monotonic()

    def name(self, number):
        """What the choices of an input are made of: the same name gives the same input."""
        return f"{self.kind}-{SEED}-{number}"

    def ended(self, how, inputs=1):
        """Count how one exchange ended, and its inputs; look at the memory now and then, first
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
        """Keep what was answered wrongly; bytes among the details are written as Latin-1."""
        self.found.append(details)
        self._write("found", **details)

    def _write(self, what, **details):
        line = {"kind": self.kind, "seed": SEED, "seconds": round(time.monotonic() - self._began)}
        with (FOLDER / f"plugway-{what}-{self.kind}-{SEED}.jsonl").open("a") as file:
            file.write(json.dumps({**line, **details}, default=_readable) + "\n")

    def check(self):
        """Raises where anything was answered wrongly, or memory went on growing."""
        where = f"seed {SEED}; all in {FOLDER / f'plugway-found-{self.kind}-{SEED}.jsonl'}"
        some = "\n".join(map(repr, self.found[:20]))
        assert not self.found, f"{len(self.found)} of {self.done} ({where})\n{some}"
        most = max(self.grown) / 2**20
        assert most < MOST_GROWTH / 2**20, f"{most:.1f} MiB more (seed {SEED})"


class Log(logging.Handler):
    """Errors that are logged: none is to be."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.found = []

    def emit(self, record):
        trace = record.exc_info[1] if record.exc_info else None
        self.found.append(f"{record.name}: {record.getMessage()} {trace!r}")


@contextmanager
def errors_logged():
    """The errors that are logged meanwhile; nothing less is, as pytest keeps each record."""
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
