"""Passwords of people who sign in without an OIDC provider, hashed by argon2id."""

from __future__ import annotations

import threading
from functools import cache
from typing import Final

import anyio.to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from plugway_accounts._errors import AccountError

_SHORTEST: Final = 12
_LONGEST: Final = 1024
_AT_ONCE: Final = threading.Semaphore(2)
"""Each takes 64 MiB and a core for some 30 ms."""


async def hashed(password: str) -> str:
    """The hash of a new password. Raises `AccountError` if it is too short or too long."""
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise AccountError(f"a password has {_SHORTEST} to {_LONGEST} characters")
    return await anyio.to_thread.run_sync(_hash, password)


async def matches(stored: str | None, password: str) -> bool:
    """Whether a password is the one that was hashed. It takes as long if there is none, so that
    the time does not tell who has an account."""
    if len(password) > _LONGEST:
        return False
    return await anyio.to_thread.run_sync(_matches, stored, password)


def _hash(password: str) -> str:
    with _AT_ONCE:
        return _hasher().hash(_bytes(password))


def _matches(stored: str | None, password: str) -> bool:
    try:
        with _AT_ONCE:
            return _hasher().verify(stored or _nobodys(), _bytes(password)) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _nobodys() -> str:
    return _hasher().hash(b"a password that nobody has")
