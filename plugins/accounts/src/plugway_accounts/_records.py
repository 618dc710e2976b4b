"""People, groups and keys as they are listed. Times are in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Person:
    """A person who may use the gateway."""

    name: str
    models: tuple[str, ...]
    """Patterns of models granted to this person, besides those of the groups."""
    groups: tuple[str, ...]
    has_password: bool
    created: int
    disabled: int | None
    """When the person was locked out."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of people."""

    name: str
    models: tuple[str, ...]
    """Patterns of models granted to its members, besides their own."""
    members: tuple[str, ...]
    created: int


@dataclass(frozen=True, slots=True)
class Key:
    """A key, without its secret."""

    id: str
    """Its beginning."""
    person: str
    label: str
    models: tuple[str, ...]
    """Patterns that narrow what the person may use."""
    created: int
    expires: int | None
    revoked: int | None
    last_used: int | None
    """Up to a minute late."""

    def state(self, now: float) -> Literal["valid", "expired", "revoked"]:
        """Whether it may be used."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"
