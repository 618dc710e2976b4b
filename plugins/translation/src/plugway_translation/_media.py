"""Images and documents in the shapes of the Messages API, and what becomes of those that a target
cannot take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from plugway import InvalidRequest, as_list, as_object
from plugway_translation._bytes_of_media import plain_base64, true_kind, true_type
from plugway_translation._notes import Notes
from plugway_translation._words import said_in

MediaPolicy = Literal["placeholder", "reject"]
"""What becomes of media that a target cannot take: words in its place, or a 400."""
COMMON_IMAGES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""The types that Anthropic ("Vision", "Image formats") and OpenAI ("Images and vision", "Image
input requirements") take."""


@dataclass(frozen=True, slots=True)
class Media:
    """An image or document. Of `data`, `url`, `file_id` and `text` at most one is set."""

    kind: Literal["image", "document"]
    mime: str = ""
    data: str = ""
    """Base64."""
    url: str = ""
    file_id: str = ""
    text: str = ""
    """A document that is plain text, or made of text blocks."""
    title: str = ""
    context: str = ""

    @property
    def data_url(self) -> str:
        """`data:image/png;base64,…`."""
        return f"data:{self.mime};base64,{self.data}"

    @property
    def said(self) -> str:
        """A text document in words, with its title and context."""
        head = [f"[document: {self.title}]" if self.title else "", self.context]
        return "\n".join(filter(None, (*head, self.text)))


def media_of(block: Mapping[str, Any], notes: Notes | None = None) -> Media | None:
    """The medium in an `image` or `document` block; None for other blocks.

    Base64 is in the standard alphabet, and empty where it is none; the type is what the first
    bytes tell. What had to be put right for that is in `notes`.
    """
    kind = block.get("type")
    if kind != "image" and kind != "document":
        return None
    source = as_object(block.get("source"))
    known = {"title": _text(block.get("title")), "context": _text(block.get("context"))}
    mime = _text(source.get("media_type"))
    match source.get("type"):
        case "base64":
            return _inline(kind, mime, _text(source.get("data")), known, notes)
        case "url":
            return Media(kind, mime, url=_text(source.get("url")), **known)
        case "file":
            return Media(kind, mime, file_id=_text(source.get("file_id")), **known)
        case "text":
            return Media(kind, mime or "text/plain", text=_text(source.get("data")), **known)
        case "content":
            parts = source.get("content")
            if any(as_object(part).get("type") == "image" for part in as_list(parts)):
                known["context"] = f"{known['context']}\n[images inside were left out]".strip()
            return Media(kind, "text/plain", text=said_in(parts), **known)
        case _:
            return Media(kind, mime, **known)


def unreadable(media: Media, images: Collection[str] = COMMON_IMAGES) -> str:
    """Why a target that takes `images`, and PDF, cannot read the data; empty where it can, or where
    it is an address, a file or text."""
    if media.url or media.file_id or media.text:
        return ""
    if not media.data:
        return "its data is empty, or is no base64"
    known = images if media.kind == "image" else ("application/pdf",)
    return "" if media.mime in known else "its type is none that is taken there"


def unseen(media: Media, policy: MediaPolicy, notes: Notes, because: str) -> str:
    """The words that stand for media which a target cannot take.

    Raises `InvalidRequest` where the policy is to refuse.
    """
    what = media.kind if not media.mime else f"{media.kind} ({media.mime})"
    if policy == "reject":
        raise InvalidRequest(f"{what}: it cannot be sent to this model: {because}", retry=False)
    notes.add(media.kind, "drop", f"{because}, replaced by a note")
    title = f" {media.title!r}" if media.title else ""
    return f"[{what}{title} left out: this model cannot see it]"


def replaced_media(
    messages: Sequence[Any],
    unfit: Callable[[Media], str],
    notes: Notes,
    policy: MediaPolicy = "placeholder",
) -> Sequence[Any]:
    """`messages` with words for the images and documents that `unfit` has a reason against, those
    in results of tools too; the same object where there are none.

    Raises `InvalidRequest` where the policy is to refuse.
    """
    found = [_replaced_in(message, unfit, notes, policy) for message in messages]
    same = all(new is old for new, old in zip(found, messages, strict=True))
    return messages if same else found


def fewer_images(
    messages: Sequence[Any], most: int, notes: Notes, policy: MediaPolicy = "placeholder"
) -> Sequence[Any]:
    """`messages` with words for all but the last `most` images; the same object where there are no
    more of them. Raises `InvalidRequest` where the policy is to refuse."""
    count = 0

    def counted(media: Media) -> str:
        nonlocal count
        count += media.kind == "image"
        return ""

    replaced_media(messages, counted, Notes())
    left = count - most

    def unfit(media: Media) -> str:
        nonlocal left
        if media.kind != "image" or left <= 0:
            return ""
        left -= 1
        return f"the server accepts only the last {most} images"

    return replaced_media(messages, unfit, notes, policy) if left > 0 else messages


def _replaced_in(
    holder: Any, unfit: Callable[[Media], str], notes: Notes, policy: MediaPolicy
) -> Any:
    """A turn, or a result of a tool, with its content changed."""
    fields = as_object(holder)
    blocks, found = as_list(fields.get("content")), list[Any]()
    for block in blocks:
        inner = as_object(block)
        media = media_of(inner, notes)
        if media is not None and (because := unfit(media)):
            found.append({"type": "text", "text": _words(media, policy, notes, because)})
        elif media is not None and media.data:
            found.append(_as_it_is(block, media))
        elif inner.get("type") == "tool_result":
            found.append(_replaced_in(block, unfit, notes, policy))
        else:
            found.append(block)
    same = all(new is old for new, old in zip(found, blocks, strict=True))
    return holder if same else {**fields, "content": found}


def _as_it_is(block: Any, media: Media) -> Any:
    """The block with the type and the base64 that its data has; the same object where it had."""
    inner = as_object(block)
    source = as_object(inner.get("source"))
    found = {**source, "media_type": media.mime, "data": media.data}
    if found == source and inner.get("type") == media.kind:
        return block
    members = {key: item for key, item in inner.items() if key not in ("title", "context")}
    kept = inner if media.kind == "document" else members
    return {**kept, "type": media.kind, "source": found}


def _inline(
    kind: Literal["image", "document"],
    mime: str,
    data: str,
    known: Mapping[str, str],
    notes: Notes | None,
) -> Media:
    plain = plain_base64(data)
    told = true_type(mime, plain)
    if notes is not None and plain and plain != data:
        notes.add(kind, "translate", "its base64 in the standard alphabet, padded, without blanks")
    if notes is not None and plain and told != mime:
        notes.add(kind, "translate", "its type as the first bytes tell it, in lower case")
    return Media(true_kind(kind, told), told, data=plain, **known)


def _words(media: Media, policy: MediaPolicy, notes: Notes, because: str) -> str:
    if not media.text:
        return unseen(media, policy, notes, because)
    notes.add(media.kind, "translate", f"{because}, sent as its text")
    return media.said


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
