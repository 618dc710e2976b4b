"""Images and documents in the shapes of the Messages API, and their replacement for targets that do
not support them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from plugway import InvalidRequest, as_list, as_object
from plugway_translation._media_types import plain_base64, true_kind, true_type
from plugway_translation._notes import Notes
from plugway_translation._text import readable_text

MediaPolicy = Literal["placeholder", "reject"]
"""What to do with unsupported media: replace them with text, or return a 400."""
COMMON_IMAGES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")
"""The image types that Anthropic ("Vision", "Image formats") and OpenAI ("Images and vision",
"Image input requirements") accept."""


@dataclass(frozen=True, slots=True)
class Media:
    """An image or document. At most one of `data`, `url`, `file_id` and `text` is set."""

    kind: Literal["image", "document"]
    mime: str = ""
    data: str = ""
    """Base64."""
    url: str = ""
    file_id: str = ""
    text: str = ""
    """The text of a plain-text document, or of its text blocks."""
    title: str = ""
    context: str = ""

    @property
    def data_url(self) -> str:
        """`data:image/png;base64,…`."""
        return f"data:{self.mime};base64,{self.data}"

    @property
    def as_text(self) -> str:
        """The title, context and text of a document."""
        head = [f"[document: {self.title}]" if self.title else "", self.context]
        return "\n".join(filter(None, (*head, self.text)))


def media_of(block: Mapping[str, Any], notes: Notes | None = None) -> Media | None:
    """Read an `image` or `document` block; None for other blocks.

    Base64 is normalized, and empty if invalid; the type is detected from the first bytes.
    Corrections are added to `notes`.
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
            return Media(kind, "text/plain", text=readable_text(parts), **known)
        case _:
            return Media(kind, mime, **known)


def unreadable(media: Media, images: Collection[str] = COMMON_IMAGES) -> str:
    """Why a target that accepts `images` and PDF cannot read the data; empty if it can.

    Also empty for a URL, a file id, or text.
    """
    if media.url or media.file_id or media.text:
        return ""
    if not media.data:
        return "its data is empty or not valid base64"
    known = images if media.kind == "image" else ("application/pdf",)
    return "" if media.mime in known else "its type is not supported there"


def media_placeholder(media: Media, policy: MediaPolicy, notes: Notes, because: str) -> str:
    """Text that replaces media that a target does not support.

    Raises `InvalidRequest` if `policy` is to reject.
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
    """Replace images and documents for which `unfit` returns a reason, also in tool results.

    Returns the same object if nothing changes. Raises `InvalidRequest` if `policy` is to reject.
    """
    found = [_replaced_in(message, unfit, notes, policy) for message in messages]
    same = all(new is old for new, old in zip(found, messages, strict=True))
    return messages if same else found


def limit_images(
    messages: Sequence[Any], most: int, notes: Notes, policy: MediaPolicy = "placeholder"
) -> Sequence[Any]:
    """Replace all but the last `most` images with text.

    Returns the same object if nothing changes. Raises `InvalidRequest` if `policy` is to reject.
    """
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
    """A turn or tool result with its content replaced."""
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
    """The block with the detected type and normalized base64; the same object if unchanged."""
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
    detected = true_type(mime, plain)
    if notes is not None and plain and plain != data:
        notes.add(kind, "translate", "base64 normalized: standard alphabet, padded, no blanks")
    if notes is not None and plain and detected != mime:
        notes.add(kind, "translate", "type detected from the first bytes, in lower case")
    return Media(true_kind(kind, detected), detected, data=plain, **known)


def _words(media: Media, policy: MediaPolicy, notes: Notes, because: str) -> str:
    if not media.text:
        return media_placeholder(media, policy, notes, because)
    notes.add(media.kind, "translate", f"{because}, sent as its text")
    return media.as_text


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
