"""The worker: decodes a picture within limits, enlarges it tile by tile, and encodes it.

Tiles bound the memory, and let the gateway cancel between them.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final, Protocol

from plugway_local_engine import Channel, LoadFailed
from plugway_media.worker import Piece, Refused, serve
from plugway_upscale._models import INSTALL, MODELS
from plugway_upscale._realesrgan import RealEsrgan

MARGIN: Final = 10
"""Pixels around a tile that are computed with it and dropped, so that there are no seams."""
PIECE_BYTES: Final = 3 << 18
"""Bytes of a frame with a part of the result: a multiple of 3, for base64."""
_QUALITY: Final = 92
_MAX_SIDES: Final = {"png": 80_000, "jpeg": 65_500, "webp": 16_383}


class Enlarger(Protocol):
    """What enlarges a tile."""

    tile: int

    def enlarged(self, picture: Any, scale: int) -> Any:
        """A `PIL.Image.Image` in RGB, `scale` times as large."""
        ...


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine` in the child."""
    if sys.platform != "win32":
        os.nice(10)  # it keeps all processors busy, and the gateway has other clients
    try:
        engine = RealEsrgan(MODELS[config["model"]], config["device"])
    except ImportError as error:
        raise LoadFailed(explain(error)) from None
    run(channel, engine, config["max_pixels"])


def run(channel: Channel, engine: Enlarger, max_pixels: int) -> None:
    """Answer requests: `scale` and `format` in the header, the file in the body."""
    from plugway_media.pictures import Image, open_picture

    def handle(header: Mapping[str, Any], body: bytes) -> Iterator[Piece]:
        picture = open_picture(body)
        scale, kind = header["scale"], header["format"]
        width, height = picture.width * scale, picture.height * scale
        _check(width, height, kind, max_pixels)
        out = Image.new("RGB", (width, height))
        for done, total in paste_tiles(engine, picture, out, scale):
            yield {"done": done, "total": total}, b""
        data = _encoded(out, kind)
        yield {"width": width, "height": height, "bytes": len(data)}, b""
        for start in range(0, len(data), PIECE_BYTES):
            yield {}, bytes(data[start : start + PIECE_BYTES])

    serve(channel, handle)


def paste_tiles(engine: Enlarger, picture: Any, out: Any, scale: int) -> Iterator[tuple[int, int]]:
    """Fill `out` with the enlarged tiles of a picture; yields how many are done, of how many."""
    size = engine.tile
    corners = list(product(range(0, picture.height, size), range(0, picture.width, size)))
    for number, (top, left) in enumerate(corners, 1):
        right, bottom = min(left + size, picture.width), min(top + size, picture.height)
        outer_left, outer_top = max(0, left - MARGIN), max(0, top - MARGIN)
        outer = (
            outer_left,
            outer_top,
            min(right + MARGIN, picture.width),
            min(bottom + MARGIN, picture.height),
        )
        enlarged = engine.enlarged(picture.crop(outer), scale)
        inner = (left - outer_left, top - outer_top, right - outer_left, bottom - outer_top)
        part = enlarged.crop(tuple(scale * edge for edge in inner))
        out.paste(part, (scale * left, scale * top))
        yield number, len(corners)


def explain(error: ImportError) -> str:
    """What to install for a failed import: a package, or a library of the system."""
    if isinstance(error, ModuleNotFoundError):
        return f"`{error.name}` is not installed: {INSTALL}"
    return (
        f"Real-ESRGAN cannot be loaded: {error}. On Debian and Ubuntu: "
        "`sudo apt install libvulkan1 libomp5`"
    )


def _check(width: int, height: int, kind: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Refused(
            f"the enlarged picture would have {width:,} x {height:,} pixels; at most "
            f"{max_pixels:,} are created: use a smaller scale, or a part of the picture"
        )
    if max(width, height) > _MAX_SIDES[kind]:
        raise Refused(
            f"the enlarged picture would have {width:,} x {height:,} pixels, and {kind} pictures "
            f"at most {_MAX_SIDES[kind]:,} on a side: use png"
        )


def _encoded(picture: Any, kind: str) -> memoryview:
    out = io.BytesIO()
    if kind == "png":
        picture.save(out, "PNG", compress_level=3)
    else:
        picture.save(out, kind.upper(), quality=_QUALITY)
    return out.getbuffer()
