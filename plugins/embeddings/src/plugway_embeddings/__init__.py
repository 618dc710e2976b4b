"""Connects clients' embeddings APIs with backends: a library, not a plugin."""

from plugway_embeddings._front import Writer, answered
from plugway_embeddings._openai import OpenAIEmbeddings
from plugway_embeddings._values import (
    AT_ONCE,
    MOST_INPUTS,
    Embedded,
    Embeds,
    Input,
    Vector,
    Wanted,
    encoded,
    texts_of,
    vector_of,
)

__all__ = [
    "AT_ONCE",
    "MOST_INPUTS",
    "Embedded",
    "Embeds",
    "Input",
    "OpenAIEmbeddings",
    "Vector",
    "Wanted",
    "Writer",
    "answered",
    "encoded",
    "texts_of",
    "vector_of",
]
