"""Images in prompts: decoded, checked, encoded in the background, and cached.

In a prompt an image is a run of negative numbers made from its hash, so that code which compares,
keeps and shares prompts by their tokens also works for images. `_engine` adds them to the context.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import queue
import secrets
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from plugway_local_engine.engine import SHARED_POSITION, Picture, UnreadableImage

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Logits, Tokens
    from plugway_llama_cpp._mtmd import Media, Projector

_log = logging.getLogger(__name__)

_MOST_PIXELS: Final = 8000 * 8000
"""Maximum size of the Messages API; a small file can declare a far larger one."""
_KEPT_BYTES: Final = 64 << 20
_KEPT_PICTURES: Final = 4


class Images:
    """All images of one model."""

    def __init__(self, projector: Projector, batch: int, wake: Callable[[], None]) -> None:
        """`wake` is called when embeddings are ready or have failed."""
        self._projector = projector
        self._batch = batch
        self._wake = wake
        self._pictures: OrderedDict[bytes, Picture] = OrderedDict()
        self._rows: dict[Media, Logits | str] = {}
        self._wanted: set[Media] = set()
        self._queue: queue.SimpleQueue[Media] = queue.SimpleQueue()
        self.marker = f"<|image-{secrets.token_hex(8)}-{{}}|>"
        """Placeholder in the rendered text for image `{}`; clients cannot guess it."""
        threading.Thread(target=self._encode_all, name="images", daemon=True).start()

    # Called by the thread that prepares requests

    def picture(self, source: Mapping[str, Any], caller: str) -> Picture:
        """The image of a `base64` source, decoded and encoded once per caller (`Owner.caller`).

        Raises `UnreadableImage`.
        """
        data = _decode(source)
        digest = hashlib.sha256(b"%s/%s" % (caller.encode(), data)).digest()
        known = self._pictures.get(digest)
        if known is None:
            known = self._pictures[digest] = self._read(data, digest)
        self._pictures.move_to_end(digest)
        self._forget()
        return known

    def _read(self, data: bytes, digest: bytes) -> Picture:
        check_size(data)
        try:
            pieces = self._projector.split(data)
        except ValueError as error:
            raise UnreadableImage(str(error)) from None
        runs: list[Tokens] = []
        parts: list[tuple[int, Media]] = []
        at = 0
        for number, (tokens, media) in enumerate((p.tokens, p.media) for p in pieces):
            if media is not None:
                self._check(media)
                parts.append((at, media))
                tokens = stand_ins(digest, number, media.tokens, media.positions)
            runs.append(tokens)
            at += len(tokens)
        return Picture(np.concatenate(runs), tuple(parts))

    def _check(self, media: Media) -> None:
        if media.both_ways and media.tokens > self._batch:
            raise UnreadableImage(
                f"it needs {media.tokens} tokens, which must fit into one micro-batch; set `batch` "
                f"to at least that (it is {self._batch})"
            )
        if media.positions > media.tokens:
            raise UnreadableImage("its layout of positions is not supported")

    def _forget(self) -> None:
        """Drop the images that were unused for longest; jobs keep their own."""
        width = 4 * self._projector.width
        size = sum(picture.size for picture in self._pictures.values()) * width
        while size > _KEPT_BYTES and len(self._pictures) > _KEPT_PICTURES:
            _, oldest = self._pictures.popitem(last=False)
            size -= oldest.size * width
            for _, media in oldest.parts:
                self._rows.pop(media, None)

    # Called by the engine's loop

    def embeddings(self, media: Media) -> Logits | None:
        """The embeddings; None while they are being computed.

        Raises `RuntimeError` if the projector failed.
        """
        found = self._rows.get(media)
        if found is None and media not in self._wanted:
            self._wanted.add(media)
            self._queue.put(media)
        if isinstance(found, str):
            del self._rows[media]
            raise RuntimeError(found)
        return found

    def decode(self, context: Any, media: Media, rows: Logits, place: tuple[int, int]) -> int:
        """Add it to the context at `place`: sequence and position."""
        return self._projector.decode(context, media, rows, *place)

    def _encode_all(self) -> None:
        while True:
            media = self._queue.get()
            try:
                self._rows[media] = self._projector.encode(media)
            except Exception as error:
                # This thread serves all requests: an error must not end the others.
                _log.exception("an image cannot be encoded")
                self._rows[media] = f"an image cannot be encoded ({type(error).__name__})"
            self._wanted.discard(media)
            self._wake()


def stand_ins(digest: bytes, part: int, tokens: int, positions: int) -> Tokens:
    """Negative numbers for a part of an image; the last `positions` have one position each."""
    seed = hashlib.shake_256(digest + part.to_bytes(4)).digest(4 * tokens)
    numbers = -1 - (np.frombuffer(seed, "<u4") & 0x3FFF_FFFF).astype(np.int64)
    numbers[: tokens - positions] += SHARED_POSITION
    return numbers.astype(np.int32)


def _decode(source: Mapping[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(source.get("data", "")), validate=True)
    except (binascii.Error, ValueError):
        raise UnreadableImage("its `data` is not base64") from None


def check_size(data: bytes) -> None:
    """Reject unknown image types, and images with too many pixels.

    Raises `UnreadableImage`.
    """
    try:
        size = _pixels(data)
    except (struct.error, IndexError):
        size = None
    if size is None:
        raise UnreadableImage("it is not a JPEG, PNG, GIF or BMP, or it is truncated")
    width, height = size
    if not 0 < width * height <= _MOST_PIXELS:
        raise UnreadableImage(f"{width:,} x {height:,} pixels; the maximum is 8,000 x 8,000")


def _pixels(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(width), abs(height)
    return _jpeg_pixels(data) if data.startswith(b"\xff\xd8") else None


def _jpeg_pixels(data: bytes) -> tuple[int, int] | None:
    """Size from the frame header (`SOF`), the first segment that contains one."""
    at = 2
    while data[at] == 0xFF:
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None
