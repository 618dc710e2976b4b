"""JSON without a schema, which the Messages API lacks: which backends can force it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from plugway import Backend
from plugway_wire.protocols import implements


@runtime_checkable
class MakesJson(Protocol):
    """A backend whose server writes JSON of any shape if a schema of any object is requested."""

    makes_any_json: bool


def forces_json(backend: Backend) -> bool:
    """Whether a schema of any object forces JSON there: also local servers, by a grammar."""
    return backend.zone == "local" or (implements(backend, MakesJson) and backend.makes_any_json)
