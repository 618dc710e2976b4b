"""Reads a client's trace context, and decides which traces are kept.

https://www.w3.org/TR/trace-context/: `traceparent` and `tracestate`.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final

from plugway import MessagesRequest

MAX_PARENT: Final = 256
"""Length of a `traceparent` that is looked at; that of version 00 has 55 characters."""
MAX_STATE: Final = 512
"""Longest `tracestate` that is kept: section 3.3.1.5 of the recommendation."""
_PARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MEMBER: Final = (
    r"[ \t]*(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e][ \t]*"
)
_STATE: Final = re.compile(rf"{_MEMBER}(?:,{_MEMBER}){{0,31}}")


@dataclass(frozen=True, slots=True)
class Context:
    """The trace that an exchange belongs to."""

    trace_id: bytes
    """16 bytes."""
    parent_id: bytes
    """8 bytes: the client's span; empty if the exchange begins the trace."""
    state: str
    sampled: bool


def new_context(share: float) -> Context:
    """A new trace; `share` of them, from 0 to 1, are sampled."""
    number = random.getrandbits(128) or 1
    # As OpenTelemetry's `TraceIdRatioBased` decides, so that services with the same share agree.
    sampled = (number & 0xFFFFFFFFFFFFFFFF) < round(share * 2**64)
    return Context(number.to_bytes(16, "big"), b"", "", sampled)


def new_span_id() -> bytes:
    """A random span id of 8 bytes, not zero."""
    return (random.getrandbits(64) or 1).to_bytes(8, "big")


def trace_headers(request: MessagesRequest) -> tuple[str | None, str]:
    """The client's `traceparent`, None if it sent none or several, and its `tracestate`."""
    named = request.named
    parent = named.get("traceparent")
    if parent is None:
        return None, ""
    if len(named) == len(request.headers):
        return parent[:MAX_PARENT], named.get("tracestate", "")[: MAX_STATE + 1]
    if [name for name, _ in request.headers].count("traceparent") > 1:
        return None, ""
    states = [value for name, value in request.headers if name == "tracestate" and value.strip()]
    return parent[:MAX_PARENT], ",".join(states)[: MAX_STATE + 1]


def context_of(parent: str, state: str, share: float) -> Context:
    """The client's trace, with its own sampling decision; a new one if `parent` is invalid. An
    invalid `state` is dropped."""
    found = _PARENT.fullmatch(parent)
    # Version 00 has exactly four parts; later ones may have more.
    if found is None or (found[1] == "00" and found[5]) or not (_set(found[2]) and _set(found[3])):
        return new_context(share)
    if state and (len(state) > MAX_STATE or not _STATE.fullmatch(state)):
        state = ""
    sampled = bool(int(found[4], 16) & 1)
    return Context(bytes.fromhex(found[2]), bytes.fromhex(found[3]), state, sampled)


def _set(digits: str) -> bool:
    return digits.strip("0") != ""
