"""Restricts requests of callers with a limited token to what their grant covers, which is models.

`plugway_grants` finds what else a request chooses.
"""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

import orjson

from plugway.types.backend import Caller
from plugway.types.exchange import Exchange
from plugway.types.request import MessagesRequest, Original
from plugway_grants import (
    QUERY,
    choice_in,
    choice_in_messages,
    is_choice,
    is_choice_in_query,
    is_known,
    passes,
)
from plugway_wire.errors import Forbidden

_UNKNOWN: Final = "unknown to the gateway, and this token may only choose a model"
_CONVERSATION: Final = tuple(
    f"x-claude-code-{name}" for name in ("session-id", "agent-id", "parent-agent-id")
)
_APART: Final = "ids are kept separate for each caller"


def check_grants(request: MessagesRequest, caller: Caller) -> None:
    """Raise `Forbidden` if a limited caller's request chooses more than a model."""
    for name, _ in request.headers:
        if is_choice(name):
            raise _refusal(caller, f"the header `{name[:64]}`")
    for name, _ in parse_qsl(request.query, keep_blank_values=True):
        if is_choice_in_query(name):
            raise _refusal(caller, f"`{name[:64]}` in the query")
    original = request.original
    body = original.parsed if original is not None and original.body else request.body
    found = choice_in(body)
    if found is None and original is not None and not request.deferred:
        found = choice_in_messages(request.get("messages"))
    if found is not None:
        raise _refusal(caller, f"`{found[:128]}`")


def within_grants(request: MessagesRequest, exchange: Exchange) -> MessagesRequest:
    """The request without unknown fields, headers and parameters, and with session ids of its own.

    It is serialized again: of a duplicate JSON key, the upstream could read the unchecked value.
    """
    caller = exchange.caller
    unknown = [name for name in request.fields if not is_known(name)]
    if unknown:
        changed = request.without(unknown, because=_UNKNOWN)
        made = changed.changes[len(request.changes) :]
        exchange.note_once("kernel", (change.summary for change in made), stage="grants")
        request = changed
    headers = tuple(_line(caller, line) for line in request.headers if passes(line[0]))
    for name in _CONVERSATION:
        if request.header(name) is not None:
            exchange.note("kernel", f"set header:{name}: {_APART}", stage="grants")
    for name in dict.fromkeys(n for n, _ in request.headers if not passes(n)):
        exchange.note("kernel", f"remove header:{name[:64]}: {_UNKNOWN}", stage="grants")
    allowed = [pair for pair in parse_qsl(request.query) if pair in QUERY]
    query = "&".join(f"{name}={value}" for name, value in dict.fromkeys(allowed))
    original = request.original and _restricted(request.original, caller, exchange)
    return request.resent(headers, query, original)


def _restricted(original: Original, caller: Caller, exchange: Exchange) -> Original:
    """The client's own body without unknown fields, and with a cache key of this caller."""
    body = {name: value for name, value in original.parsed.items() if is_known(name)}
    if isinstance(key := body.get("prompt_cache_key"), str) and key:
        body["prompt_cache_key"] = own_key(caller, key)
    for name in sorted(original.parsed.keys() - body.keys()):
        exchange.note("kernel", f"remove {name[:64]}: {_UNKNOWN}", stage="grants")
    return original.written(orjson.dumps(body)) if original.body else original


def _line(caller: Caller, line: tuple[str, str]) -> tuple[str, str]:
    """A header; ids of conversations become UUIDs that no other caller can produce."""
    name, value = line
    return (name, str(UUID(own_key(caller, value)))) if name in _CONVERSATION else line


def own_key(caller: Caller, key: str) -> str:
    """A key for an upstream's cache that no other caller can produce."""
    return hashlib.sha256(f"{caller.name}/{key}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _refusal(caller: Caller, what: str) -> Forbidden:
    may = f"the token `{caller.name}` may only use certain models, and {what} could choose another"
    return Forbidden(f"{may} at the upstream: remove it", retry=False)
