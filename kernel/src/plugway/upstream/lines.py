"""Filters response headers: which headers of an upstream reach the client.

An allowlist, because an upstream can send any header: those that SDKs or Claude Code read, and that
a vendor's support asks for. Names are in lower case.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from plugway_log import holds_secret
from plugway_wire.errors import LONGEST_WAIT, Headers

_PASSING: Final = {
    "content-type",  # if it is JSON
    "retry-after",  # this and the two after it: `_base_client.py` of both vendors' SDKs
    "retry-after-ms",
    "x-should-retry",
    "ratelimit",  # draft-ietf-httpapi-ratelimit-headers
    "ratelimit-policy",
    "deprecation",  # RFC 9745
    "sunset",  # RFC 8594
    "cf-ray",  # this and the two after it: request ids of intermediaries
    "apim-request-id",
    "x-generation-id",
}
_PASSING_PREFIXES: Final = ("anthropic-", "ratelimit-", "x-ratelimit-")
_IDS: Final = ("request-id", "x-request-id")
UPSTREAM_ID: Final = "plugway-upstream-request-id"
"""The header with the upstream's request id; `request-id` is the gateway's."""

MAX_VALUE: Final = 1024
"""Length of the longest header value that passes."""
MAX_LINES: Final = 64
MAX_HEAD: Final = 8192
"""Total size of the headers that pass: Node clients accept 16 KiB, including the gateway's own."""
_JSON: Final = "application/json"
_SECONDS: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?")
_MILLISECONDS: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")
_MAX_DATE: Final = 40

_NEVER: Final = {
    *("alt-svc", "clear-site-data", "content-encoding", "date", "keep-alive", "server"),
    *("set-cookie", "set-cookie2", "strict-transport-security", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
}
"""Headers that are never sent to a client: hop-by-hop (RFC 9110, 7.6.1), about the origin, and
those that the server writes itself."""
_NEVER_PREFIXES: Final = ("access-control-", "proxy-")


def named_by(connection: Iterable[str]) -> frozenset[str]:
    """The names in the values of `connection` headers, which belong to the connection."""
    return frozenset(map(str.strip, ",".join(connection).lower().split(",")))


def from_upstream(lines: Headers, own: tuple[str, ...] = ()) -> Headers:
    """The upstream's headers that may reach a client; `own` are prefixes of the vendor's headers.

    The content type passes only if it is JSON: API clients read no other, and an upstream's page
    must not be displayed by a browser as one of the gateway.
    """
    connection = [value for name, value in lines if name == "connection"]
    named = named_by(connection) if connection else ()
    passing: list[tuple[str, str]] = []
    room = MAX_HEAD
    for received, value in lines:
        name = _name_at_client(received, own)
        if not name or received in named:
            continue
        if name == "content-type":
            if value.partition(";")[0].strip().lower() != _JSON:
                continue
            value = _JSON
        if (check := _CHECKS.get(name)) is not None and not check(value):
            continue
        size = len(name) + len(value)
        if len(value) <= MAX_VALUE and size <= room and value.isascii() and value.isprintable():
            passing.append((name, value))
            room -= size
    kept = passing[:MAX_LINES]
    if holds_secret("\n".join([value for _, value in kept])):
        kept = [line for line in kept if not holds_secret(line[1])]
    return tuple(kept)


@lru_cache(maxsize=128)  # few, because a name may be long
def _name_at_client(name: str, own: tuple[str, ...]) -> str:
    """The name under which a header reaches the client; empty if it does not."""
    if name in _IDS:
        return UPSTREAM_ID
    return name if name in _PASSING or name.startswith(_PASSING_PREFIXES + own) else ""


def _wait(value: str) -> bool:
    """Whether it is seconds or a date (RFC 9110, 10.2.3) within `LONGEST_WAIT`."""
    if _SECONDS.fullmatch(value):
        return float(value) <= LONGEST_WAIT
    try:
        moment = parsedate_to_datetime(value[:_MAX_DATE]).timestamp()
    except (ValueError, OverflowError, OSError):
        return False
    return len(value) <= _MAX_DATE and moment - time.time() <= LONGEST_WAIT


def _wait_ms(value: str) -> bool:
    return bool(_MILLISECONDS.fullmatch(value)) and float(value) <= 1000 * LONGEST_WAIT


_CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "retry-after": _wait,
    "retry-after-ms": _wait_ms,
    "x-should-retry": ("true", "false").__contains__,
}
"""Headers that clients obey without validation: an invalid value could make them wait for ever."""


def to_client(lines: Headers) -> Headers:
    """Reply headers without those that are never sent to a client."""
    return tuple(
        [
            line
            for line in lines
            if line[0] not in _NEVER and not line[0].startswith(_NEVER_PREFIXES)
        ]
    )
