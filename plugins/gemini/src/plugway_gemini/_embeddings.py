"""Embeddings in Google's format. Pure functions.

https://ai.google.dev/api/embeddings: `batchEmbedContents`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from plugway import BackendProtocolError, as_list, as_object
from plugway_embeddings import Vector, Wanted, vector_of
from plugway_gemini._models import resource


def batch_of(wanted: Wanted, texts: Sequence[str], model: str) -> dict[str, Any]:
    """Build a `BatchEmbedContentsRequest` for a batch of texts."""
    settings: dict[str, Any] = {"model": resource(model)}
    if wanted.task:
        settings["taskType"] = wanted.task
    if wanted.title:
        settings["title"] = wanted.title
    if wanted.dimensions:
        settings["outputDimensionality"] = wanted.dimensions
    return {"requests": [{**settings, "content": {"parts": [{"text": text}]}} for text in texts]}


def vectors_in(raw: bytes, expected: int) -> list[Vector]:
    """Read the vectors of a response. Raises `BackendProtocolError` if the number differs."""
    try:
        answer = as_object(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise BackendProtocolError("the embeddings response is not valid JSON") from None
    entries = as_list(answer.get("embeddings"))
    found = [vector_of(as_object(entry).get("values")) for entry in entries]
    if len(found) != expected:
        raise BackendProtocolError(f"expected {expected} embeddings, got {len(found)}")
    return found
