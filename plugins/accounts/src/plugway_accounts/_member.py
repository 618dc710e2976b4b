"""A person as the caller of an exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from plugway import Caller
from plugway_accounts._names import EVERYTHING, NOTHING


@dataclass(frozen=True, slots=True)
class Member(Caller):
    """A person who uses the gateway, by a key or by signing in.

    The name of the caller is that of the person: conversations, caches and logs are kept apart by
    it. All of it is as the database had it when the request arrived.
    """

    groups: tuple[str, ...] = ()
    """The person's groups, sorted."""
    key: str = ""
    """Id of the key, such as `pw_3fTk8Qzr`; empty for a person who signed in."""
    within: tuple[str, ...] = EVERYTHING
    """Patterns that a model must match besides those in `models`."""

    @property
    def person(self) -> str:
        """The person's name."""
        return self.name

    def may_use(self, target: str) -> bool:
        """Whether requests of this person may go to `instance/model`."""
        return Caller.may_use(self, target) and (
            self.within is EVERYTHING or any(fnmatchcase(target, one) for one in self.within)
        )


def member(
    name: str, granted: Sequence[str], groups: Sequence[str], key: str, key_models: Sequence[str]
) -> Member:
    """A member who may use the models that are granted and that the key is for.

    A person is a limited caller, even one who may use all models. Where one side is `*`, `models`
    says all of it, and `within` adds nothing.
    """
    models = EVERYTHING if "*" in granted else tuple(dict.fromkeys(granted)) or NOTHING
    within = EVERYTHING if "*" in key_models else tuple(key_models) or NOTHING
    if models == EVERYTHING:
        models, within = within, EVERYTHING
    return Member(name, models=models, groups=tuple(sorted(groups)), key=key, within=within)
