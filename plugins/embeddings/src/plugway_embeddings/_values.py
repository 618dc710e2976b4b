"""Request and reply of embeddings, and the protocol of backends that support them."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from plugway import Attempt, BackendProtocolError, InvalidRequest, as_list

MOST_INPUTS: Final = 2048
"""Maximum inputs per request (`embedding_create_params.py` of the `openai` SDK has this limit)."""
AT_ONCE: Final = 32
"""Inputs per request to a server: a response with 32 vectors has a few megabytes."""
MOST_DIMENSIONS: Final = 65_536

Input = str | tuple[int, ...]
"""A text, or the tokens of one."""
if TYPE_CHECKING:
    Vector = array[float]
else:
    Vector = array  # not subscriptable before Python 3.12
"""Numbers of four bytes, the precision that models use."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A client's request for embeddings."""

    model: str
    """The client's name of the model; backends use that of the attempt."""
    inputs: tuple[Input, ...]
    dimensions: int = 0
    """Length of the vectors; 0 for the model's default."""
    task: str = ""
    """Google's `taskType`, e.g. `RETRIEVAL_QUERY`; other servers have none."""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The reply: a vector for each input, in order."""

    vectors: tuple[Vector, ...]
    tokens: int = 0
    """Tokens of all inputs; 0 if the server does not report them."""


@runtime_checkable
class Embeds(Protocol):
    """A backend that supports embeddings."""

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Embed the inputs with `attempt.model`.

        Raises:
            BackendError: the server failed.
            RequestRejected: the request is invalid.
        """
        ...


def vector_of(value: Any) -> Vector:
    """Read one vector of a response. Raises `BackendProtocolError`."""
    try:
        found = array("f", as_list(value))
    except (TypeError, OverflowError):
        found = array("f")
    if not 0 < len(found) <= MOST_DIMENSIONS:
        raise BackendProtocolError("an embedding is not a list of numbers")
    return found


def texts_of(inputs: Sequence[Input]) -> list[str]:
    """The inputs for a server that accepts only texts. Raises `InvalidRequest`."""
    texts = [one for one in inputs if isinstance(one, str)]
    if len(texts) < len(inputs):
        message = "input: this model accepts only texts; tokens require a server with OpenAI's API"
        raise InvalidRequest(message, retry=False, record=True)
    return texts


def encoded(vector: Vector) -> str:
    """The numbers in base64, little-endian (`encoding_format` of OpenAI's API)."""
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector).decode()
