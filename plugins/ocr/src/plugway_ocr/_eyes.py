"""Pictures and PDF files in a request for a model without vision become their text.

In two steps, because reading takes longer than `prepare_attempt` may: that puts the text of known
pictures in their place, and a mark for each of the others; `around_attempt` reads those.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import anyio

from plugway import (
    Attempt,
    Backend,
    BackendError,
    Caller,
    Loads,
    MessagesRequest,
    ModelInfo,
    RequestRejected,
    as_list,
    as_object,
)
from plugway_media.uploads import decode_base64
from plugway_ocr._files import MAX_BYTES
from plugway_ocr._options import Eyes
from plugway_ocr._reader import Failure, Found, Reader, key_of
from plugway_tools import harmless

_LIST_SECONDS: Final = 1.0
"""Time for a backend to list its models while a request waits."""
_LISTED_SECONDS: Final = 30.0

_MOST_ABOUT: Final = 10_000
"""Characters of the title of a PDF file, and of its context."""

Sight = Literal["sees", "blind", "unloaded"]
"""Whether a model accepts images; `unloaded` if its backend knows only once it is loaded."""


@dataclass(slots=True)
class Pending:
    """Pictures of one attempt that have to be read."""

    sight: Sight
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    """Part of the marks; clients cannot guess it."""
    blocks: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    keys: list[bytes] = field(default_factory=list[bytes])

    def mark(self, number: int) -> str:
        """The text in place of a picture."""
        return f"[picture {self.token}-{number}: it is read before the request is sent]"


@dataclass(slots=True)
class Replaced:
    """A request whose pictures were replaced."""

    request: MessagesRequest
    pending: Pending


class Sights:
    """Which models accept images, by the option or their backends' lists."""

    def __init__(self, eyes: Mapping[str, Eyes]) -> None:
        self._eyes = eyes
        self._listed: dict[str, tuple[float, Sequence[ModelInfo]]] = {}

    async def of(self, attempt: Attempt) -> Sight:
        """Whether the model of an attempt accepts images."""
        patterns = self._eyes.items()
        rule = next((r for name, r in patterns if fnmatchcase(attempt.target, name)), "never")
        if rule != "auto":
            return "blind" if rule == "always" else "sees"
        info = _find(await self._models(attempt.backend), attempt.model)
        if info is None:
            return "sees"
        if info.state == "unloaded" and not info.capabilities:
            self._listed.pop(attempt.backend.name, None)
            return "unloaded" if isinstance(attempt.backend, Loads) else "sees"
        return "blind" if info.capabilities and "images" not in info.capabilities else "sees"

    async def once_loaded(self, attempt: Attempt) -> Sight:
        """Load the model, which the request needs anyway, and look again."""
        if isinstance(attempt.backend, Loads):
            await attempt.backend.load(attempt.model)
        return await self.of(attempt)

    async def _models(self, backend: Backend) -> Sequence[ModelInfo]:
        """The list of a backend, at most half a minute old."""
        at, models = self._listed.get(backend.name, (-math.inf, ()))
        if time.monotonic() - at > _LISTED_SECONDS:
            with suppress(BackendError, TimeoutError):
                with anyio.fail_after(_LIST_SECONDS):
                    models = await backend.models()
            self._listed[backend.name] = time.monotonic(), models
        return models


def replaced(
    request: MessagesRequest,
    reader: Reader,
    caller: Caller,
    images: Literal["all", "messages", "results"],
    most: int,
    sight: Sight,
) -> Replaced | None:
    """The request with a text or a mark in place of each picture; None if there is none. All get
    marks if it is not known yet whether the model is blind."""
    messages = as_list(request.get("messages"))
    found: list[Mapping[str, Any]] = []
    _walk(messages, images, lambda block: found.append(block) or block)
    chosen = {id(block) for block in found[-most:]}
    pending = Pending(sight)
    read = 0

    def put(block: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal read
        data = _base64(block) if id(block) in chosen else None
        if data is None:
            return block
        key = key_of(data.encode("utf-8", "replace"))
        known = reader.known(key, caller) if sight == "blind" else None
        if known is None:
            pending.blocks.append(block)
            pending.keys.append(key)
            return _as_text(block, pending.mark(len(pending.blocks) - 1))
        read += 1
        return _as_text(block, _told(block, words(known)))

    shown = _walk(messages, images, put)
    if not read and not pending.blocks:
        return None
    because = f"the model accepts no images: {read + len(pending.blocks)} replaced by their text"
    return Replaced(request.replace(because=because, messages=shown), pending)


async def with_texts(
    request: MessagesRequest, pending: Pending, reader: Reader, caller: Caller
) -> MessagesRequest:
    """The request with the texts of the marked pictures, which are read now."""
    texts: list[str] = []
    failed = 0
    for block, key in zip(pending.blocks, pending.keys, strict=True):
        try:
            data = await decode_base64(_base64(block), "data", max_bytes=MAX_BYTES)
            texts.append(_told(block, words(await reader.read(data, caller, key))))
        except RequestRejected as error:
            failed += 1
            texts.append(_told(block, _failed(error)))
    because = f"{len(texts) - failed} pictures read as text"
    because += f", {failed} could not be read" if failed else ""
    return _with_marks(request, pending, because, lambda n, block: _as_text(block, texts[n]))


def with_pictures(request: MessagesRequest, pending: Pending) -> MessagesRequest:
    """The request as it was: the model accepts images after all."""
    return _with_marks(request, pending, "the model accepts images", lambda n, block: block)


def words(known: Found | Failure) -> str:
    """What the model reads in place of a picture."""
    if isinstance(known, Failure):
        return _failed(known.error)
    if "pages" in known:
        return (
            f"[A PDF file, pages: {known['pages']}. You cannot open it; this is the text in it:]\n"
            f"{known['text']}\n[End of the PDF file]"
        )
    size = f"{known['width']} x {known['height']} pixels"
    if not known["text"]:
        return f"[A picture of {size}. You cannot see it, and no text was found in it.]"
    more = f"\n[{known['left_out']} further pieces were not read]" if known["left_out"] else ""
    return (
        f"[A picture of {size}. You cannot see it; this is the text in it:]\n"
        f"{known['text']}{more}\n[End of the picture]"
    )


def _failed(error: RequestRejected) -> str:
    return f"[A file that you cannot see and that could not be read: {error.message}]"


def _told(block: Mapping[str, Any], text: str) -> str:
    """With what a `document` block says about its file."""
    about = [block.get(name) for name in ("title", "context")]
    return "\n".join(
        [*(harmless(one)[:_MOST_ABOUT] for one in about if isinstance(one, str)), text]
    )


def _with_marks(
    request: MessagesRequest,
    pending: Pending,
    because: str,
    put: Callable[[int, Mapping[str, Any]], Mapping[str, Any]],
) -> MessagesRequest:
    marks = {pending.mark(number): number for number in range(len(pending.blocks))}

    def swap(block: Mapping[str, Any]) -> Mapping[str, Any]:
        number = marks.get(str(block.get("text")))
        return block if number is None else put(number, {**pending.blocks[number], **_kept(block)})

    messages = as_list(request.get("messages"))
    return request.replace(because=because, messages=_walk(messages, "all", swap, ("text",)))


def _walk(
    messages: Sequence[Any],
    where: Literal["all", "messages", "results"],
    put: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    kinds: Collection[str] = ("image", "document"),
) -> list[Any]:
    """The messages with the result of `put` for each block of these kinds."""

    def content(holder: Any, inside: bool) -> Any:
        fields = as_object(holder)
        blocks = fields.get("content")
        if not isinstance(blocks, list):
            return holder
        shown: list[Any] = []
        for block in as_list(blocks):
            one = as_object(block)
            if one.get("type") == "tool_result":
                shown.append(content(block, True))
            elif one.get("type") in kinds and where in ("all", "results" if inside else "messages"):
                shown.append(put(one))
            else:
                shown.append(block)
        return {**fields, "content": shown}

    return [content(message, False) for message in messages]


def _base64(block: Mapping[str, Any]) -> str | None:
    """The data of a picture or PDF file; None if it is not in the request. No URL is fetched."""
    source = as_object(block.get("source"))
    data = source.get("data")
    return data if source.get("type") == "base64" and isinstance(data, str) else None


def _as_text(block: Mapping[str, Any], text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, **_kept(block)}


def _kept(block: Mapping[str, Any]) -> dict[str, Any]:
    return {"cache_control": block["cache_control"]} if "cache_control" in block else {}


def _find(models: Sequence[ModelInfo], name: str) -> ModelInfo | None:
    named = [info for info in models if info.id in (name, f"{name}:latest")]
    return named[0] if named else models[0] if len(models) == 1 else None
