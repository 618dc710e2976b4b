"""Fresh identifiers. They name, and grant nothing."""

from __future__ import annotations

import random

_source = random.Random()  # seeded by the system once: asking it for each id costs a call to it


def new_id(prefix: str) -> str:
    """A fresh identifier such as `msg_…`, `toolu_…` or `req_…`, of characters every API accepts."""
    return f"{prefix}_{_source.randbytes(12).hex()}"
