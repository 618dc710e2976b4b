"""Images and documents of a request: their bytes do not say how many tokens they have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from plugway import MessagesRequest, as_list, as_object

IMAGE_TOKENS: Final = 5000
"""Most tokens of an image."""
DOCUMENT_TOKENS: Final = 1_000_000
"""Most tokens of documents: a whole context, because a small PDF can have hundreds of pages."""
_TEXTS: Final = ("text", "content")
_HINTS: Final = (b"image", b"document", b"\\u00")
_MEDIA: Final = re.compile(
    rb'"(?:url|image_url|file_url|file_id|file_data|fileUri|file_uri)"\s*:\s*"'
    rb'|"(?:inlineData|inline_data)"\s*:'
)
_DOCUMENT: Final = re.compile(
    rb'"(?:file_url|file_id|file_data|fileUri|file_uri)"\s*:\s*"|application\\?/pdf'
)
_ESCAPE: Final = re.compile(rb"\\u00([2-7][0-9a-fA-F])")


class Media(NamedTuple):
    """How many images and documents a request has."""

    images: int
    documents: int

    @property
    def tokens(self) -> int:
        """The tokens that they have at most."""
        return self.images * IMAGE_TOKENS + DOCUMENT_TOKENS * bool(self.documents)


def media_in(request: MessagesRequest) -> Media:
    """The images and documents of a request. Of another API, anything that may be one is counted:
    what the gateway did not translate is sent too."""
    if request.original is not None:
        body = request.original.body
        if b"\\u00" in body:  # `"\u0075rl"` is the same name to a server
            body = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), body)
        return Media(len(_MEDIA.findall(body)), len(_DOCUMENT.findall(body)))
    if not any(hint in request.raw for hint in _HINTS):
        return Media(0, 0)
    kinds = [_kind(block) for block in blocks_in(as_list(request.get("messages")))]
    return Media(kinds.count("image"), kinds.count("document"))


def replies_in(request: MessagesRequest) -> int:
    """How many replies a request of another API asks for: `n`, or Gemini's `candidateCount`."""
    if (original := request.original) is None:
        return 1
    wanted = [original.get("n")]
    for name in ("generationConfig", "generation_config"):
        config = as_object(original.get(name))
        wanted += [config.get("candidateCount"), config.get("candidate_count")]
    return max([1, *(number for number in wanted if type(number) is int)])


def blocks_in(items: list[Any]) -> Iterator[Mapping[str, Any]]:
    """All blocks of messages, with those inside of others."""
    for item in map(as_object, items):
        yield item
        yield from blocks_in(as_list(item.get("content")))
        yield from blocks_in(as_list(as_object(item.get("source")).get("content")))


def _kind(block: Mapping[str, Any]) -> str:
    """`image`, `document`, or another type; documents of text have as many tokens as bytes."""
    kind = block.get("type")
    if kind == "document" and as_object(block.get("source")).get("type") in _TEXTS:
        return ""
    return kind if isinstance(kind, str) else ""
