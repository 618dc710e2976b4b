"""Formats exceptions for the log: stacks and types, without messages that may quote a request."""

from __future__ import annotations

import traceback
from typing import Any, Final, cast

from plugway.types.errors import described

_MAX_CAUSES: Final = 8


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
