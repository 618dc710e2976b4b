"""Which header lines go to a server, and what its own lines say. Pure functions.

Credentials never come from here: they are added when the connection is there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from plugway import Headers

CREDENTIALS: Final = frozenset(
    (
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "proxy-authorization",
        "proxy-connection",
        "plugway-token",
    )
)
"""Lines that are a secret of somebody, or meant for somebody in between."""

_OWN: Final = CREDENTIALS | frozenset(
    (
        "host",
        "content-length",
        "accept-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "forwarded",
        "x-real-ip",
    )
)
_OWN_PREFIXES: Final = ("plugway-", "x-forwarded-")
_PLAIN: Final = frozenset(("content-type", "accept"))
_PLAIN_PREFIXES: Final = ("anthropic-", "x-claude-code-")


def open_headers(lines: Headers) -> Headers:
    """Every line but those of the connection and of credentials: for Anthropic itself."""
    return tuple(
        line for line in lines if line[0] not in _OWN and not line[0].startswith(_OWN_PREFIXES)
    )


def plain_headers(lines: Headers) -> Headers:
    """The lines that the protocol needs, and no more about the client than its conversation."""
    kept = [line for line in lines if line[0] in _PLAIN or line[0].startswith(_PLAIN_PREFIXES)]
    return (*kept, ("user-agent", "plugway"))


def replaced(lines: Headers, extra: Mapping[str, str]) -> Headers:
    """`lines` with those of `extra`, each in place of lines of the same name."""
    if not extra:
        return lines
    return (*(line for line in lines if line[0] not in extra), *extra.items())


def key_lines(header: str, key: str | None) -> dict[str, str]:
    """The credential line that carries `key` in `header`; none without a key."""
    if key is None:
        return {}
    return {header: f"Bearer {key}" if header == "authorization" else key}


def retry_after(lines: Headers) -> float | None:
    """Seconds that the server asks to wait: `retry-after-ms`, or `retry-after` in either form."""
    found = dict(lines)
    if (wait := _number(found.get("retry-after-ms"))) is not None:
        return wait / 1000
    text = found.get("retry-after")
    if text is None or (wait := _number(text)) is not None:
        return wait
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else -1.0
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None
