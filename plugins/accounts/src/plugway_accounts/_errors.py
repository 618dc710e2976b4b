"""What is wrong with an account or a key."""

from __future__ import annotations

from plugway import PlugwayError


class AccountError(PlugwayError):
    """A person, group or key is unknown, exists already, or has an invalid name."""


def no_person(name: str) -> AccountError:
    """The error for an unknown person."""
    return AccountError(f"there is no person {name[:64]!r}: `plugway users list` shows all")


def no_group(name: str) -> AccountError:
    """The error for an unknown group."""
    return AccountError(f"there is no group {name[:64]!r}: `plugway groups list` shows all")


def no_key(key: str) -> AccountError:
    """The error for an unknown key, which may be a whole one: it is not repeated."""
    return AccountError(
        f"there is no key {key[:11]!r}: `plugway users keys list` shows the ids of all"
    )
