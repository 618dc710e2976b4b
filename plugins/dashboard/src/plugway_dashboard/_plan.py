"""What would happen to a request now: which target would serve it, and why. Nothing is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import Caller, Gateway, MessagesRequest, PlugwayError, as_object
from plugway_wire.pieces import Mark

MAX_BYTES: Final = 4 * 2**20
"""Longest text that stands for the content of a request."""
_TOKEN_BYTES: Final = 4
_PIXEL: Final = "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_IMAGE: Final = Mark(b'"image"')
_TOOL: Final = {"name": "a_tool", "description": "", "input_schema": {"type": "object"}}


def shape_of(request: MessagesRequest) -> Mapping[str, Any] | None:
    """What rules may look at besides the model, without any content; None for a request of another
    API, which would have to be translated for it."""
    if request.original is not None:
        return None
    return {
        "tokens": len(request.raw) // _TOKEN_BYTES,
        "tools": "tools" in request.fields,
        "thinking": as_object(request.get("thinking")).get("type") in ("enabled", "adaptive"),
        "images": _IMAGE.may_be_in(request, "messages"),
    }


async def planned(
    gateway: Gateway, model: str, item: Mapping[str, Any] | None, caller: Caller
) -> Mapping[str, Any]:
    """What would be tried for a request to `model`, shaped like an exchange that ended."""
    request = _request(model, item or {})
    try:
        attempts = await gateway.plan(request, caller=caller)
    except PlugwayError as error:
        return {"model": model, "attempts": [], "reason": "", "notes": [], "error": str(error)}
    exchange = attempts[0].exchange
    reason = exchange.route.reason if exchange.route else ""
    return {
        "model": model,
        "attempts": [{"target": one.target, "zone": one.backend.zone} for one in attempts],
        "reason": reason,
        "notes": [f"{one.plugin}: {one.what}" for one in exchange.receipt if one.what != reason],
        "error": None,
    }


def _request(model: str, item: Mapping[str, Any]) -> MessagesRequest:
    shape = _shape(item)
    text = "x " * (min(shape["tokens"] * _TOKEN_BYTES, MAX_BYTES) // 2)
    content: list[Mapping[str, Any]] = [{"type": "text", "text": text or "x"}]
    if shape["images"]:
        source = {"type": "base64", "media_type": "image/gif", "data": _PIXEL}
        content.append({"type": "image", "source": source})
    body = {
        "model": model,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": content}],
        **({"tools": [_TOOL]} if shape["tools"] else {}),
        **({"thinking": {"type": "adaptive"}} if shape["thinking"] else {}),
    }
    ids = {"session-id": item.get("session_id"), "agent-id": item.get("agent_id")}
    headers = [(f"x-plugway-{name}", str(value)) for name, value in ids.items() if value]
    return MessagesRequest(orjson.dumps(body), tuple(headers))


def _shape(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if item.get("shape"):
        return item["shape"]
    usage = as_object(item.get("usage"))
    tokens = sum(usage.get(name, 0) for name in ("input", "cache_read", "cache_creation"))
    return {"tokens": tokens, "tools": False, "thinking": False, "images": False}
