"""Exceptions as the log has them: stacks and types, without texts that may quote a request."""

from __future__ import annotations

import traceback
from typing import Any, Final, cast

from plugway.types.errors import described

_MOST_CAUSES: Final = 8


def trace(error: BaseException | None) -> list[str]:
    """The lines of the stack of an exception and of what led to it."""
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _MOST_CAUSES:
        seen.add(id(error))
        stack = "".join(traceback.format_tb(error.__traceback__)).splitlines()
        held = [f"  {line}" for one in _held_by(error)[:_MOST_CAUSES] for line in trace(one)]
        here = ["Traceback (most recent call last):", *stack, described(error), *held]
        lines = [*here, "which led to:", *lines] if lines else here
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def _held_by(error: Any) -> tuple[BaseException, ...]:
    return cast("Any", error).exceptions if isinstance(error, BaseExceptionGroup) else ()
