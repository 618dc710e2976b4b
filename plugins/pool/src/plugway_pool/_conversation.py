"""Which conversation a request belongs to, as a hash: a key for choosing, and an id for servers."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

from plugway import Exchange, MessagesRequest, as_list, as_object


def conversation_of(request: MessagesRequest, exchange: Exchange) -> bytes:
    """A hash of the session and the subagent; without a session, of the start of the prompt, which
    stays the same as the conversation grows."""
    if exchange.session_id is not None:
        return _hashed(exchange, exchange.session_id, exchange.agent_id)
    first = next(iter(as_list(request.get("messages"))), None)
    start = [_plain(request.get("system")), _plain(as_object(first).get("content"))]
    return _digest(orjson.dumps(start, option=orjson.OPT_SORT_KEYS))


def parent_of(exchange: Exchange) -> bytes | None:
    """The hash of the conversation that started a subagent's; None for a main conversation."""
    if exchange.session_id is None or exchange.agent_id is None:
        return None
    return _hashed(exchange, exchange.session_id, exchange.parent_agent_id)


def _hashed(exchange: Exchange, session: str, agent: str | None) -> bytes:
    return _digest(orjson.dumps([exchange.caller.name, session, agent]))


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16, person=b"plugway-pool").digest()


def _plain(content: Any) -> Any:
    """Content without cache markers, which clients move from turn to turn."""
    blocks = as_list(content)
    return [_without_marker(as_object(block)) for block in blocks] if blocks else content


def _without_marker(block: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}
