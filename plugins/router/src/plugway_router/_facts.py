"""What a rule's conditions can check. Each value is computed once, on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object

BYTES_PER_TOKEN: Final = 4
TOKENS_PER_IMAGE: Final = 1600
"""Approximate count of the Messages API for an image of 1.15 megapixels, the largest it keeps."""
DOCUMENT_BYTES_PER_TOKEN: Final = 27
"""Base64 characters per token of a PDF: a page has about 50 KB and 2,500 tokens."""

_REMINDER: Final = ("<system-reminder>", "</system-reminder>")


class Facts:
    """The properties of a request that conditions check."""

    def __init__(self, request: MessagesRequest) -> None:
        self._request = request

    @cached_property
    def tokens(self) -> int:
        """Size of the request in tokens, estimated from its bytes; binary data by its type."""
        size = len(self._request.raw)
        tokens = 0
        for block in self._blocks():
            source = as_object(block.get("source"))
            data = source.get("data")
            kind = block.get("type")
            if kind == "image":
                tokens += TOKENS_PER_IMAGE
            if source.get("type") == "base64" and isinstance(data, str):
                size -= len(data)
                tokens += 0 if kind == "image" else len(data) // DOCUMENT_BYTES_PER_TOKEN
        return tokens + size // BYTES_PER_TOKEN

    @cached_property
    def has_tools(self) -> bool:
        """Whether the request offers tools."""
        return bool(as_list(self._request.get("tools")))

    @cached_property
    def has_images(self) -> bool:
        """Whether the conversation contains an image, including in tool results."""
        return any(block.get("type") == "image" for block in self._blocks())

    @cached_property
    def has_thinking(self) -> bool:
        """Whether the request asks for thinking."""
        return as_object(self._request.get("thinking")).get("type") in ("enabled", "adaptive")

    @cached_property
    def user_text(self) -> str:
        """The text that the user typed last, case folded.

        Tool results and text that the client adds are excluded, so that a file read by a tool
        cannot choose the backend. It does not change during a loop of tool calls.
        """
        for message in reversed(as_list(self._request.get("messages"))):
            turn = as_object(message)
            if turn.get("role") == "user" and (text := _typed(turn.get("content"))):
                return text.casefold()
        return ""

    def header(self, name: str) -> str | None:
        """The value of a request header, or None."""
        return self._request.header(name.lower())

    def _blocks(self) -> Iterator[Mapping[str, Any]]:
        for message in as_list(self._request.get("messages")):
            for block in map(as_object, as_list(as_object(message).get("content"))):
                yield block
                if block.get("type") == "tool_result":
                    yield from map(as_object, as_list(block.get("content")))


def _typed(content: object) -> str:
    if isinstance(content, str):
        texts = [content]
    else:
        blocks = map(as_object, as_list(content))
        texts = [str(b.get("text", "")) for b in blocks if b.get("type") == "text"]
    return "\n".join(filter(None, (_without_reminders(text).strip() for text in texts)))


def _without_reminders(text: str) -> str:
    begin, end = _REMINDER
    first, *others = text.split(begin)
    return "".join([first, *(part.partition(end)[2] for part in others)])
