"""The gateway's side of an embedding model: texts to its worker, vectors back."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import orjson

from plugway import Attempt, BackendUnavailable, InvalidRequest
from plugway_embeddings import AT_ONCE, Embedded, Vector, Wanted
from plugway_local_engine import Supervisor, raise_error


async def vectors_of(
    supervisor: Supervisor, wanted: Wanted, attempt: Attempt, model: str
) -> Embedded:
    """A vector for each input.

    Raises:
        InvalidRequest: an input is a list of tokens, or `dimensions` is not the model's.
        RequestRejected: an input is too long.
        BackendUnavailable: the worker failed, or the model created vectors without a meaning.
    """
    width = int((await supervisor.ready())["width"])
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
        _check(found.vectors, model, at)
        vectors += found.vectors
        tokens += found.tokens
    return Embedded(tuple(vectors), tokens)


async def _asked(supervisor: Supervisor, texts: Sequence[str], first: int, width: int) -> Embedded:
    header = {"op": "embed", "first": first}
    call = await supervisor.call(header, orjson.dumps(texts))
    try:
        async for frame in call:
            raise_error(frame.header)
            if len(frame.body) != 4 * width * len(texts):
                what = f"the worker returned {len(frame.body):,} bytes for {len(texts)} vectors"
                raise BackendUnavailable(f"{what} of {width} numbers", permanent=True)
            numbers = array("f", frame.body)
            vectors = [numbers[n : n + width] for n in range(0, len(numbers), width)]
            return Embedded(tuple(vectors), int(frame.header["tokens"]))
    finally:
        await call.aclose()
    raise BackendUnavailable("the worker returned no vectors", status=529)


def _check(vectors: Sequence[Vector], model: str, first: int) -> None:
    """Vectors have length 1, unless the model's weights are damaged or do not suit llama.cpp."""
    for at, vector in enumerate(vectors, first):
        length = math.hypot(*vector)
        if not math.isfinite(length) or not length:
            made = "only zeros" if not length else "numbers that are infinite or undefined (NaN)"
            raise BackendUnavailable(
                f"`{model}` created a vector with {made} for input[{at}]: its file is damaged or "
                "does not work with this llama.cpp. Use another file or quantization of the model",
                permanent=True,
            )
