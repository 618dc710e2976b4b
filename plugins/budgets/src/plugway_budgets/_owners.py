"""Whose limits apply to a caller."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from plugway import Caller
from plugway_budgets._limits import Subject


@runtime_checkable
class Member(Protocol):
    """A caller that belongs to a person."""

    @property
    def person(self) -> str:
        """The person's name."""
        ...

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of the person."""
        ...

    @property
    def key(self) -> str:
        """The key that was used; empty for a person who signed in."""
        ...


class Owner(NamedTuple):
    """A caller as budgets see it."""

    person: str
    """Empty for a token of the configuration."""
    groups: tuple[str, ...]
    key: str

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """Those whose limits apply."""
        person = (Subject("person", self.person),) if self.person else ()
        groups = (Subject("group", name) for name in dict.fromkeys(self.groups))
        key = (Subject("key", self.key),) if self.key else ()
        return (*person, *groups, *key)


def owner_of(caller: Caller) -> Owner:
    """The person, groups and key of a caller; a token of the configuration is a key by its name."""
    if isinstance(caller, Member):
        return Owner(caller.person, tuple(caller.groups), caller.key)
    return Owner("", (), caller.name)
