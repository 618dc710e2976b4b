"""`POST /v1/embeddings`: embeds texts with any backend that supports embeddings.

Shapes: `types/embedding_create_params.py` and `create_embedding_response.py` of the `openai` SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response

from plugway import Gateway, RequestRejected, as_list, as_object
from plugway_embeddings import (
    AT_ONCE,
    Embedded,
    Input,
    Vector,
    Wanted,
    Writer,
    answered,
    encoded,
)
from plugway_openai_api._errors import STATUSES, to_openai
from plugway_openai_api._fields import integer, invalid, missing, model_of, wrong_type, wrong_value
from plugway_wire.bounds import breath

MOST_TOKENS: Final = 100_000
"""Limit of tokens in one input."""


class Embeddings:
    """Handles requests for embeddings."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, request: Request) -> Response:
        """Answer one request; every failure is returned in OpenAI's error envelope."""
        return await answered(self._gateway, request, _read, _refused)


def _read(raw: bytes) -> tuple[Wanted, Writer]:
    wanted, as_base64 = _wanted(_body(raw))
    return wanted, partial(_written, model=wanted.model, as_base64=as_base64)


def _refused(error: RequestRejected) -> tuple[int, bytes]:
    failure = to_openai({"type": error.type, "message": error.message})
    return STATUSES.get(error.status, error.status), orjson.dumps(failure.body())


def _body(raw: bytes) -> dict[str, Any]:
    try:
        found: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise invalid("The body is not valid JSON.", record=True) from None
    if not isinstance(found, dict):
        raise invalid("The body must be a JSON object.", record=True)
    return as_object(found)


def _wanted(body: Mapping[str, Any]) -> tuple[Wanted, bool]:
    """Return the request, and whether vectors are sent as base64. Raises `InvalidRequest`."""
    model = model_of(body)
    if body.get("input") is None:
        raise missing("input")
    inputs = _inputs(body["input"])
    form = body.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise wrong_value("encoding_format", form, "'float' and 'base64'")
    return Wanted(model, inputs, integer(body, "dimensions") or 0), form == "base64"


def _inputs(value: Any) -> tuple[Input, ...]:
    """Inputs: a text, a list of texts, or tokens of one or several. Raises `InvalidRequest`."""
    if isinstance(value, str):
        return (value,)
    items = as_list(value)
    if items and all(isinstance(item, str) for item in items):
        return tuple(items)
    if (tokens := _tokens(value)) is not None:
        return (tokens,)
    lists = [_tokens(item) for item in items]
    if not items or None in lists:
        raise wrong_type("input", "a string, or an array of strings or of tokens", value)
    return cast("tuple[Input, ...]", tuple(lists))


def _tokens(value: Any) -> tuple[int, ...] | None:
    items = as_list(value)
    plain = all(isinstance(item, int) and not isinstance(item, bool) for item in items)
    return tuple(items) if items and plain and len(items) <= MOST_TOKENS else None


async def _written(found: Embedded, model: str, as_base64: bool) -> bytes:
    """Encode the reply vector by vector, so that a large one does not block the event loop."""
    data: list[bytes] = []
    for at, vector in enumerate(found.vectors):
        await breath(at % AT_ONCE == 0)
        data.append(_entry(at, vector, as_base64))
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    rest = orjson.dumps({"model": model, "usage": usage})[1:]
    return b'{"object":"list","data":[' + b",".join(data) + b"]," + rest


def _entry(at: int, vector: Vector, as_base64: bool) -> bytes:
    value = encoded(vector) if as_base64 else vector.tolist()
    return orjson.dumps({"object": "embedding", "index": at, "embedding": value})
