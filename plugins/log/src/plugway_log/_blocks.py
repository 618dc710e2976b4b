"""What is logged within a block: its warnings as text, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager

from plugway_log._log import redact


@contextmanager
def warnings_logged() -> Generator[list[str]]:
    """The warnings logged in the block, each with the name of its plugin or module."""
    logged: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(redact(f"{record.name.removeprefix('plugway.')}: {record.getMessage()}"))

    listener, root = Listener(logging.WARNING), logging.getLogger()
    root.addHandler(listener)
    try:
        yield logged
    finally:
        root.removeHandler(listener)


@contextmanager
def muted(loggers: Iterable[logging.Logger]) -> Generator[None]:
    """Drop what is logged with `loggers` in the block."""

    def drop(_: logging.LogRecord) -> bool:
        return False

    muted = list(loggers)
    for logger in muted:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger in muted:
            logger.removeFilter(drop)
