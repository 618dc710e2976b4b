"""Estimates the tokens of a prompt at their upper end, and reads what a reply has used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, cast

from plugway import Bounded, MessagesRequest, Reply, Usage, as_list, as_object
from plugway_prices import IMAGE_TOKENS, blocks_in, media_in

BYTES_PER_TOKEN: Final = 2
"""Fewest bytes per token that are assumed of new text. English and code have 3 to 4.5, text in
other scripts 2 to 3 in UTF-8, and long identifiers about 2."""
TOOLS_BYTES: Final = 1200
"""Added to requests with tools, for which servers add a prompt of about 300 to 500 tokens."""
_MORE: Final = 1.02
_COUNTS: Final = ("input", "output", "cache_read_input", "cache_creation_input")


class Size(NamedTuple):
    """The size of a prompt."""

    text: int
    """Bytes, without those of images."""
    images: int


class Meter:
    """Remembers what servers have counted for the last prompt of each agent, so that only what was
    added since is estimated."""

    def __init__(self) -> None:
        self._counted: Bounded[tuple[str, str, str], tuple[Size, int]] = Bounded(4096)

    def estimate(self, key: tuple[str, str, str], size: Size) -> int:
        """Tokens of a prompt, at their upper end. `key` is the conversation, agent and target."""
        worst = size.text // BYTES_PER_TOKEN + size.images * IMAGE_TOKENS + 1
        known = self._counted.get(key)
        if known is None:
            return worst
        before, tokens = known
        added = Size(size.text - before.text, size.images - before.images)
        if added.text < 0 or added.images < 0:
            return min(worst, int(tokens * _MORE) + max(0, added.images) * IMAGE_TOKENS)
        more = added.text // BYTES_PER_TOKEN + added.images * IMAGE_TOKENS + 1
        return min(worst, int(tokens * _MORE) + more)

    def learn(self, key: tuple[str, str, str], size: Size, usage: Usage) -> None:
        """Remember the count of a prompt."""
        prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
        if prompt:
            self._counted[key] = (size, prompt)


def size_of(request: MessagesRequest) -> Size:
    """The size of a request. Only requests with images are parsed."""
    original = request.original
    raw = original.body if original is not None and original.body else request.raw
    more = TOOLS_BYTES if "tools" in request.fields else 0
    if not media_in(request).images:
        return Size(len(raw) + more, 0)
    blocks = blocks_in(as_list(request.get("messages")))
    images = [_bytes_of(block) for block in blocks if block.get("type") == "image"]
    return Size(max(0, len(request.raw) - sum(images)) + more, len(images))


def _bytes_of(image: Mapping[str, Any]) -> int:
    data = as_object(image.get("source")).get("data")
    return len(data) if isinstance(data, str) else 0


class _Followed(Protocol):
    """A stream whose events the gateway follows."""

    finished: bool
    """Whether it came to its end."""

    def data(self, name: str) -> Mapping[str, Any]:
        """Data of the last event of that name."""
        ...


def usage_of(reply: Reply) -> Usage | None:
    """What a reply says it has used; None as long as that is not known."""
    if reply.body is not None:
        return None if reply.dialect else _usage(as_object(reply.parsed.get("usage")))
    found: object = reply.events if reply.chunks is None else reply.chunks
    if getattr(found, "finished", False) is not True:
        return None
    stream = cast("_Followed", found)
    first = as_object(as_object(stream.data("message_start").get("message")).get("usage"))
    last = as_object(stream.data("message_delta").get("usage"))
    return _usage({**first, **{name: n for name, n in last.items() if n is not None}})


def _usage(usage: Mapping[str, Any]) -> Usage | None:
    counts = [usage.get(f"{what}_tokens") for what in _COUNTS]
    found = Usage(*[n if isinstance(n, int) and 0 <= n < 2**40 else 0 for n in counts])
    return found if any(found) else None
