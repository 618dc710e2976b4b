"""Images and documents that a server has rejected: left out from then on.

Anthropic names the place (`messages.9.content.1.image.source.base64: image exceeds 5 MB maximum`).
The client sends the image with every further request, so the conversation could not go on
(anthropics/claude-code#2939, #13053, #17513).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from plugway import BackendRefused, MessagesRequest, as_list, as_object
from plugway_translation import Media, Notes, media_of, replaced_media

MOST_REMEMBERED: Final = 1000
_NUMBER: Final = rb"(\d{1,6})"
_NAMED: Final = re.compile(
    rb"messages\.%b\.content\.%b(?:\.(?:tool_result\.)?content\.%b)?"
    rb"\.(?:image|document|pdf)\.source\b[\w.]*: ([^\n]{1,60})" % (_NUMBER, _NUMBER, _NUMBER)
)
_OF_TYPE: Final = re.compile(rb"does not match the provided media type")


class RejectedMedia:
    """What one server rejected, by a hash of the data."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        """Why it is left out; empty if its type is corrected instead."""

    def __bool__(self) -> bool:
        return bool(self._known)

    def adapted(self, refusal: BackendRefused, request: MessagesRequest) -> MessagesRequest:
        """The request without the media that the server names; the same object if it names none."""
        if refusal.status != 400 or _NAMED.search(refusal.body) is None:
            return request
        named = list(_named(refusal.body, as_list(request.get("messages"))))
        if not named:
            return request
        for media, of_type in named:
            key = _key(media)
            wrong_type = of_type and key not in self._known
            self._known[key] = "" if wrong_type else "the server rejected it"
        for key in list(self._known)[: max(0, len(self._known) - MOST_REMEMBERED)]:
            self._known.pop(key, None)  # another thread may have done it
        return self.without(request)

    def forget(self, refusal: BackendRefused, first: MessagesRequest) -> None:
        """Forget what a refusal names in the `first` request of an attempt, although later ones
        were sent without it: the error only quotes the conversation."""
        if refusal.status == 400 and self._known and _NAMED.search(refusal.body) is not None:
            for media, _ in _named(refusal.body, as_list(first.get("messages"))):
                self._known.pop(_key(media), None)

    def without(self, request: MessagesRequest) -> MessagesRequest:
        """The request without rejected media; the same object if nothing changes."""
        messages, notes = as_list(request.get("messages")), Notes()
        shown = replaced_media(messages, lambda media: self._known.get(_key(media), ""), notes)
        if shown is messages:
            return request
        return request.replace(because="; ".join(notes.lines()), messages=shown)


def _named(body: bytes, messages: list[Any]) -> Iterator[tuple[Media, bool]]:
    """The media that an error names, and whether it is about the type."""
    for match in _NAMED.finditer(body):
        holder: Any = {"content": messages}
        for index in filter(None, match.groups()[:3]):
            blocks = as_list(as_object(holder).get("content"))
            holder = blocks[int(index)] if int(index) < len(blocks) else {}
        if (media := media_of(as_object(holder))) is not None:
            yield media, _OF_TYPE.search(match[4]) is not None


def _key(media: Media) -> bytes:
    text = media.data or media.url or media.file_id or media.text
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
