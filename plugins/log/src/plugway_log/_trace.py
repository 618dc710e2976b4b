"""Formats exceptions for the log: stacks and types, without messages that may quote a request."""

from __future__ import annotations

import os
import traceback
from typing import Any, Final, cast

_MAX_CAUSES: Final = 8


class Recorded(Exception):
    """Base of exceptions with a text for the log."""

    @property
    def record(self) -> str:
        """The text for the log, the receipt and the list of exchanges. Unlike the message, which is
        for the client, it never quotes a request or a response."""
        return str(self)


def described(error: BaseException) -> str:
    """An exception in one line for the log: its type, and its message only if it is `Recorded`.

    Other messages may contain the invalid value, as that of a `KeyError`, or a path. The text of a
    system error comes from its number.
    """
    name = type(error).__name__
    text = ""
    if isinstance(error, Recorded):
        text = error.record
    elif isinstance(error, OSError) and type(error).__module__ == "builtins" and error.errno:
        text = os.strerror(error.errno)
    return f"{name}: {text}" if text else name


def trace(error: BaseException | None) -> list[str]:
    """The lines of the traceback of an exception and its causes."""
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _MAX_CAUSES:
        seen.add(id(error))
        stack = "".join(traceback.format_tb(error.__traceback__)).splitlines()
        inner = [f"  {line}" for one in _members(error)[:_MAX_CAUSES] for line in trace(one)]
        here = ["Traceback (most recent call last):", *stack, described(error), *inner]
        lines = [*here, "which led to:", *lines] if lines else here
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def _members(error: Any) -> tuple[BaseException, ...]:
    return cast("Any", error).exceptions if isinstance(error, BaseExceptionGroup) else ()
