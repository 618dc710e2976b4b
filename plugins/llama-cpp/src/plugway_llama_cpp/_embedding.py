"""The gateway's side of an embedding model: texts to its worker, vectors back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import orjson

from plugway import Attempt, BackendUnavailable, InvalidRequest
from plugway_embeddings import AT_ONCE, Embedded, Vector, Wanted
from plugway_llama_cpp._refusal import raise_error
from plugway_local_engine import Supervisor


async def vectors_of(
    supervisor: Supervisor, wanted: Wanted, attempt: Attempt, width: int
) -> Embedded:
    """Vectors of `width` numbers for all inputs.

    Raises:
        InvalidRequest: an input is a list of tokens, or `dimensions` is not the model's.
        RequestRejected: an input is too long.
        BackendUnavailable: the worker failed.
    """
    if wanted.dimensions not in (0, width):
        what = f"dimensions: this model creates vectors of {width} numbers only"
        raise InvalidRequest(what, retry=False, record=True)
    texts = [text for text in wanted.inputs if isinstance(text, str)]
    if len(texts) < len(wanted.inputs):
        what = "input: send texts; token ids of another tokenizer mean nothing to this model"
        raise InvalidRequest(what, retry=False, record=True)
    if wanted.task or wanted.title:
        attempt.note("drop taskType, title: only Google's models support them")
    vectors: list[Vector] = []
    tokens = 0
    for at in range(0, len(texts), AT_ONCE):
        found = await _asked(supervisor, texts[at : at + AT_ONCE], at, width)
        vectors += found.vectors
        tokens += found.tokens
    return Embedded(tuple(vectors), tokens)


async def _asked(supervisor: Supervisor, texts: Sequence[str], first: int, width: int) -> Embedded:
    header = {"op": "embed", "first": first}
    call = await supervisor.call(header, orjson.dumps(texts))
    try:
        async for frame in call:
            raise_error(frame.header)
            numbers = array("f", frame.body)
            vectors = [numbers[n : n + width] for n in range(0, len(numbers), width)]
            return Embedded(tuple(vectors), int(frame.header["tokens"]))
    finally:
        await call.aclose()
    raise BackendUnavailable("the worker returned no vectors", status=529)
