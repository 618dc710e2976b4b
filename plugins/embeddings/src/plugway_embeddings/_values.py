"""What is asked and answered, and the protocol of those that answer."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from plugway import Attempt, BackendProtocolError, InvalidRequest, as_list

MOST_INPUTS: Final = 2048
"""Inputs of one request (`embedding_create_params.py` of the `openai` SDK has this limit)."""
AT_ONCE: Final = 32
"""Inputs that a server is sent in one request: an answer of 32 vectors is a few megabytes."""
MOST_DIMENSIONS: Final = 65_536

Input = str | tuple[int, ...]
"""A text, or the tokens of one."""
if TYPE_CHECKING:
    Vector = array[float]
else:
    Vector = array  # not subscriptable before Python 3.12
"""Numbers of four bytes each, which is what models compute with."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for."""

    model: str
    """As the client names it; a backend is asked for that of its attempt."""
    inputs: tuple[Input, ...]
    dimensions: int = 0
    """Length of the vectors; 0 for the model's own."""
    task: str = ""
    """Google's `taskType`, such as `RETRIEVAL_QUERY`; other servers have none."""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The answer: a vector for each input, in order."""

    vectors: tuple[Vector, ...]
    tokens: int = 0
    """Of all inputs; 0 where the server does not say."""


@runtime_checkable
class Embeds(Protocol):
    """A backend that makes embeddings."""

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """The vectors that `attempt.model` makes.

        Raises:
            BackendError: the server failed.
            RequestRejected: the caller is at fault.
        """
        ...


def vector_of(value: Any) -> Vector:
    """One vector, as a server writes it. Raises `BackendProtocolError`."""
    try:
        found = array("f", as_list(value))
    except (TypeError, OverflowError):
        found = array("f")
    if not 0 < len(found) <= MOST_DIMENSIONS:
        raise BackendProtocolError("an embedding is not a list of numbers")
    return found


def texts_of(inputs: Sequence[Input]) -> list[str]:
    """Inputs for a server that takes texts only. Raises `InvalidRequest`."""
    texts = [one for one in inputs if isinstance(one, str)]
    if len(texts) < len(inputs):
        message = "input: this model accepts only texts; tokens require a server with OpenAI's API"
        raise InvalidRequest(message, retry=False, record=True)
    return texts


def encoded(vector: Vector) -> str:
    """Base64 of the numbers, the lowest byte first (`encoding_format` of OpenAI's API)."""
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return base64.b64encode(vector).decode()
