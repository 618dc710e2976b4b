"""New identifiers. They are not secret: they must not grant access."""

from __future__ import annotations

import random

_source = random.Random()  # seeded by the system once, which saves a system call for each id


def new_id(prefix: str) -> str:
    """A new identifier such as `msg_…`, `toolu_…` or `req_…`, of characters every API accepts."""
    return f"{prefix}_{_source.randbytes(12).hex()}"
