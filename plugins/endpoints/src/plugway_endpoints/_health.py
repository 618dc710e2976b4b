"""Targets that are not tried now, as other plugins find them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable


class TargetHealth(NamedTuple):
    """A target, or all targets of a backend, that failed lately."""

    target: str
    """`instance/model`; `instance` if it applies to all models of a backend."""
    state: Literal["skipped", "probing", "failing"]
    """`skipped`: other targets are tried instead; `probing`: one request tries it again;
    `failing`: it is tried, and its last calls failed."""
    reason: str
    """A clause."""
    seconds: float = 0.0
    """How long it is still skipped."""


@runtime_checkable
class TellsHealth(Protocol):
    """A plugin that skips targets which fail: `Gateway.find(TellsHealth)`."""

    def health(self) -> Sequence[TargetHealth]:
        """The targets that failed lately; all others are well."""
        ...
