"""Keys of people: how one is made, recognized and stored."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "pw_"
_LENGTH: Final = 43
"""Letters and digits: 256 bits, as many as the hash has."""
_SHOWN: Final = len(PREFIX) + 8
"""Length of an id; what is not shown has 208 bits."""
_ALPHABET: Final = string.ascii_letters + string.digits
_ID: Final = re.compile(rf"{PREFIX}[A-Za-z0-9]{{8}}")
_FORM: Final = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; only its hash is stored."""

    id: str
    """Its beginning, by which it is listed and revoked."""
    secret: str = field(repr=False)
    """The key itself, to be shown once."""


def new_key() -> NewKey:
    """A random key."""
    secret = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return NewKey(secret[:_SHOWN], secret)


def is_key(text: str) -> bool:
    """Whether a token has the form of a key."""
    return _FORM.fullmatch(text) is not None


def id_of(text: str) -> str | None:
    """The id of a key that is given by its id, or whole; None if it is neither."""
    return text[:_SHOWN] if _ID.fullmatch(text) or is_key(text) else None


def key_hash(secret: str) -> str:
    """What is stored of a key, and looked up.

    A fast hash is right here: nobody can try 2^256 keys, and it is computed for every request. The
    slow ones (argon2) are for passwords, which people choose.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
