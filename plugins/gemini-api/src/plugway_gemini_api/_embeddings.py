"""`:embedContent` and `:batchEmbedContents`: embeds texts with any capable backend.

https://ai.google.dev/api/embeddings. The text of a content is that of all its parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from plugway import Gateway, RequestRejected
from plugway_embeddings import AT_ONCE, Embedded, Wanted, Writer, answered
from plugway_gemini_api._errors import STATUSES, envelope
from plugway_gemini_api._fields import integer, invalid, named, object_at, objects, text
from plugway_gemini_api._request import model_of
from plugway_wire.bounds import breath


class Embeddings:
    """Handles requests for embeddings."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, request: Request) -> Response:
        """Answer one request; every failure is returned in Google's error envelope."""
        path: str = request.scope["path"]
        return await answered(self._gateway, request, partial(_read, path), _refused)


def _read(path: str, raw: bytes) -> tuple[Wanted, Writer]:
    is_batch = path.endswith(":batchEmbedContents")
    wanted = wanted_of(_body(raw), model_of(path), is_batch=is_batch)
    return wanted, partial(_written, is_batch=is_batch)


def _refused(error: RequestRejected) -> tuple[int, bytes]:
    status = STATUSES.get(error.status, error.status)
    return status, orjson.dumps(envelope(status, {"type": error.type, "message": error.message}))


def _body(raw: bytes) -> dict[str, Any]:
    try:
        found: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise invalid("", "the body is not valid JSON") from None
    if not isinstance(found, dict):
        raise invalid("", "the body must be a JSON object")
    return named(found)


def wanted_of(body: Mapping[str, Any], model: str, *, is_batch: bool) -> Wanted:
    """Read the request. Raises `InvalidRequest`.

    All requests of a batch must have the same settings, because they become one request with
    several inputs.
    """
    requests = objects(body, "requests", "requests") if is_batch else [dict(body)]
    if not requests:
        raise invalid("requests", "no text to embed")
    inputs: list[str] = []
    settings: list[tuple[str, str, int]] = []
    for index, one in enumerate(requests):
        path = f"requests[{index}]" if is_batch else "request"
        inputs.append(_text_of(object_at(one, "content", path), f"{path}.content"))
        # Newer SDKs nest the settings in an object.
        given = {**one, **object_at(one, "embedContentConfig", path)}
        task, title = text(given, "taskType", path), text(given, "title", path)
        settings.append((task, title, integer(given, "outputDimensionality", path, 1) or 0))
    if len(set(settings)) > 1:
        raise invalid("requests", "all requests of a batch must have the same settings")
    task, title, dimensions = settings[0]
    return Wanted(model, tuple(inputs), dimensions, task, title)


def _text_of(content: Mapping[str, Any], path: str) -> str:
    parts = objects(content, "parts", f"{path}.parts")
    if any("text" not in part for part in parts):
        raise invalid(f"{path}.parts", "only text can be embedded")
    return "".join(text(part, "text", f"{path}.parts") for part in parts)


async def _written(found: Embedded, *, is_batch: bool) -> bytes:
    entries: list[bytes] = []
    for at, vector in enumerate(found.vectors):
        await breath(at % AT_ONCE == 0)
        entries.append(orjson.dumps({"values": vector.tolist()}))
    if is_batch:
        return b'{"embeddings":[' + b",".join(entries) + b"]}"
    return b'{"embedding":' + entries[0] + b"}"
