"""What a request needs of an endpoint: window, tools, images, thinking. All are estimates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import MessagesRequest, as_list, as_object

_BYTES_PER_TOKEN: Final = 4
_TOKENS_PER_IMAGE: Final = 1600
"""Approximate count of the Messages API for an image of 1.15 megapixels, the largest it keeps."""
_DOCUMENT_BYTES_PER_TOKEN: Final = 27
"""Base64 characters per token of a PDF: a page has about 50 KB and 2,500 tokens."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What an endpoint must support to continue a conversation."""

    tokens: int
    """Size of the prompt, counted by a server or estimated."""
    counted: bool = False
    """Whether a server counted the size."""
    tools: bool = False
    images: bool = False
    thinking: bool = False
    parts: tuple[tuple[str, int], ...] = ()
    """Estimated tokens of `system`, `tools`, `messages` and `tool results`."""


def needs_of(request: MessagesRequest) -> Needs:
    """The needs of a request. Takes about 1 ms per 100 KB, so do not call it for every request."""
    body = request.body
    media = 0
    binary = 0
    images = False
    for block in _blocks(body):
        source = as_object(block.get("source"))
        data = source.get("data")
        size = len(data) if isinstance(data, str) and source.get("type") == "base64" else 0
        binary += size
        if block.get("type") == "image":
            images = True
            media += _TOKENS_PER_IMAGE
        else:
            media += size // _DOCUMENT_BYTES_PER_TOKEN
    tokens = media + max(0, len(request.raw) - binary) // _BYTES_PER_TOKEN
    return Needs(
        tokens=tokens,
        tools=bool(as_list(body.get("tools"))),
        images=images,
        thinking=as_object(body.get("thinking")).get("type") in ("enabled", "adaptive"),
        parts=_parts(body),
    )


def _parts(body: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    def tokens(value: object) -> int:
        return len(orjson.dumps(value)) // _BYTES_PER_TOKEN if value else 0

    results = [b for b in _blocks(body) if b.get("type") == "tool_result"]
    inside = tokens(results)
    return (
        ("system", tokens(body.get("system"))),
        ("tools", tokens(body.get("tools"))),
        ("messages", max(0, tokens(body.get("messages")) - inside)),
        ("tool results", inside),
    )


def _blocks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for message in as_list(body.get("messages")):
        for block in map(as_object, as_list(as_object(message).get("content"))):
            yield block
            if block.get("type") == "tool_result":
                yield from map(as_object, as_list(block.get("content")))
