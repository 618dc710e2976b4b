"""Results of foreign servers as blocks of the Messages API, bounded and harmless."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)

from plugway import as_object
from plugway_log import without_secrets
from plugway_tools import ToolResult, harmless

MAX_IMAGE: Final = 5 * 2**20
"""Longest image in base64; the most that the Messages API accepts."""
MAX_IMAGES: Final = 10
MAX_BLOCKS: Final = 200
_MAGIC: Final[Mapping[str, tuple[bytes, ...]]] = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
"""Types that the Messages API accepts, and how their files begin."""


def to_result(result: CallToolResult, characters: int) -> ToolResult:
    """The result for a model; its texts together have at most `characters`."""
    blocks: list[Mapping[str, Any]] = []
    left, images = characters, 0
    for block in _blocks(result):
        if block["type"] == "image":
            images += 1
            if images <= MAX_IMAGES:
                blocks.append(block)
            continue
        if left <= 0 or len(blocks) >= MAX_BLOCKS:
            blocks.append({"type": "text", "text": "[cut: the result has more text]"})
            break
        text = without_secrets(harmless(block["text"], left))
        left -= len(block["text"])
        if text:
            blocks.append({"type": "text", "text": text})
    if not blocks:
        blocks.append({"type": "text", "text": "The tool returned nothing."})
    structured = as_object(result.structured_content) or None
    if structured is not None and _json(structured) is None:
        structured = None
    return ToolResult(tuple(blocks), bool(result.is_error), structured)


def _blocks(result: CallToolResult) -> Iterator[Mapping[str, Any]]:
    for item in result.content:
        if isinstance(item, TextContent):
            yield _text(item.text)
        elif isinstance(item, ImageContent):
            yield _image(item)
        elif isinstance(item, ResourceLink):
            yield _text(f"[resource {item.name}: {item.uri}]")
        elif isinstance(item, EmbeddedResource):
            yield _resource(item)
        else:
            yield _text(_omitted("audio", item))
    if not result.content and result.structured_content is not None:
        data = result.structured_content
        yield _text(_json(data) or json.dumps(data))


def _json(data: object) -> str | None:
    """Data as JSON; None if it has a number or text that other readers would not take."""
    try:
        return orjson.dumps(data).decode()
    except (TypeError, ValueError, RecursionError):
        return None


def _text(text: str) -> Mapping[str, Any]:
    return {"type": "text", "text": text}


def _image(item: ImageContent) -> Mapping[str, Any]:
    kind = item.mime_type.partition(";")[0].strip().lower()
    if len(item.data) > MAX_IMAGE or not _is_image(kind, item.data):
        return _text(_omitted("image", item))
    source = {"type": "base64", "media_type": kind, "data": item.data}
    return {"type": "image", "source": source}


def _is_image(kind: str, data: str) -> bool:
    """An image that is none would make the provider refuse the whole conversation."""
    try:
        return binascii.a2b_base64(data, strict_mode=True).startswith(_MAGIC.get(kind, ()))
    except (binascii.Error, ValueError):
        return False


def _resource(item: EmbeddedResource) -> Mapping[str, Any]:
    inner = item.resource
    if isinstance(inner, BlobResourceContents):
        size = len(inner.blob) * 3 // 4
        return _text(f"[resource {inner.uri}: {size:,} bytes of {inner.mime_type}, not shown]")
    return _text(f"[resource {inner.uri}]\n{inner.text}")


def _omitted(what: str, item: ImageContent | AudioContent) -> str:
    size = len(item.data) * 3 // 4
    return f"[{what} of {size:,} bytes, {item.mime_type}, not shown]"
