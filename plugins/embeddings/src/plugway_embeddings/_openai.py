"""OpenAI's `POST /v1/embeddings` for backends.

Shapes: `types/embedding_create_params.py` and `create_embedding_response.py` of the `openai` SDK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from plugway import (
    Attempt,
    BackendProtocolError,
    BackendRefused,
    Headers,
    Upstream,
    UpstreamResponse,
    as_list,
    as_object,
)
from plugway_anthropic_wire import key_refusal, refuses_key, retry_after
from plugway_embeddings._values import AT_ONCE, Embedded, Input, Vector, Wanted, vector_of
from plugway_translation import count

_LINES: Final[Headers] = (("content-type", "application/json"), ("accept", "application/json"))
_ANSWER_BYTES: Final = 64 * 2**20


class OpenAIEmbeddings:
    """Mixin for backends whose server has OpenAI's embeddings API."""

    name: str
    upstream: Upstream
    embeddings_path: str = "/v1/embeddings"

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Embed in batches (`Embeds`)."""
        if wanted.task or wanted.title:
            attempt.note("drop taskType, title: only Google's models support them")
        vectors: list[Vector] = []
        tokens = 0
        for at in range(0, len(wanted.inputs), AT_ONCE):
            answer = await self._ask(wanted, wanted.inputs[at : at + AT_ONCE], attempt.model)
            vectors += answer.vectors
            tokens += answer.tokens
        return Embedded(tuple(vectors), tokens)

    def embedding_lines(self) -> Headers:
        """Additional headers that the server needs."""
        return ()

    async def _ask(self, wanted: Wanted, inputs: Sequence[Input], model: str) -> Embedded:
        body: dict[str, Any] = {"model": model, "input": inputs}
        if wanted.dimensions:
            body["dimensions"] = wanted.dimensions
        raw, lines = orjson.dumps(body), (*_LINES, *self.embedding_lines())
        response = await self.upstream.request(
            "POST", self.embeddings_path, body=raw, headers=lines
        )
        try:
            if response.status >= 400:
                raise await self._refused(response)
            return _answer(await response.read(_ANSWER_BYTES), len(inputs))
        finally:
            await response.aclose()

    async def _refused(self, response: UpstreamResponse) -> BackendRefused:
        lines = response.headers
        wait = retry_after(lines)
        body = await response.refusal()
        refusal = BackendRefused(response.status, body, headers=lines, retry_after=wait)
        return key_refusal(self.name, refusal) if refuses_key(refusal) else refusal


def _answer(raw: bytes, expected: int) -> Embedded:
    """Parse a response. Raises `BackendProtocolError` without `expected` vectors of one length."""
    try:
        answer: Mapping[str, Any] = as_object(orjson.loads(raw))
    except orjson.JSONDecodeError:
        raise BackendProtocolError("the embeddings response is not valid JSON") from None
    found: dict[int, Vector] = {}
    for at, entry in enumerate(map(as_object, as_list(answer.get("data")))):
        index = entry.get("index", at)
        found[index if isinstance(index, int) else at] = vector_of(entry.get("embedding"))
    if found.keys() != set(range(expected)):
        raise BackendProtocolError(f"expected {expected} embeddings, got {len(found)}")
    if len({len(vector) for vector in found.values()}) > 1:
        raise BackendProtocolError("embeddings of one response have different lengths")
    tokens = count(as_object(answer.get("usage")).get("prompt_tokens"))
    return Embedded(tuple(found[at] for at in range(expected)), tokens)
