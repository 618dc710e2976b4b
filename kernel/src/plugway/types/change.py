"""What was done to a field or header line of a request, and the word for taking one away."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Removed(Enum):
    """The type of `REMOVE`."""

    REMOVE = "remove"


REMOVE: Final = Removed.REMOVE
"""Pass as a field's value to `MessagesRequest.replace` to take the field away."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done to one field or header of a request, and why."""

    field: str
    """A top-level body field, or `header:NAME`."""
    action: str
    """`set`, `add` or `remove`."""
    because: str

    @property
    def summary(self) -> str:
        """The line of the receipt."""
        return f"{self.action} {self.field}: {self.because}"
