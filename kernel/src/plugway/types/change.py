"""Changes to the fields and headers of a request, for the receipt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Removed(Enum):
    """The type of `REMOVE`."""

    REMOVE = "remove"


REMOVE: Final = Removed.REMOVE
"""Pass it as a value to `MessagesRequest.replace` to remove the field or header."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one field or header of a request, and the reason."""

    field: str
    """A top-level body field, or `header:NAME`."""
    action: str
    """`set`, `add` or `remove`."""
    because: str

    @property
    def summary(self) -> str:
        """The line of the receipt."""
        return f"{self.action} {self.field}: {self.because}"
