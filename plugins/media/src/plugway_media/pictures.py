"""Decodes pictures of unknown origin with Pillow, within limits. Only workers import it."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from importlib import import_module
from typing import Any, Final

from plugway_media.checks import picture_format
from plugway_media.worker import Refused

MAX_PIXELS: Final = 20_000_000
MAX_SIDE: Final = 20_000
MAX_RATIO: Final = 100
"""Longest side by shortest side: engines scale the short side up, or the long one down."""

Image: Any = import_module("PIL.Image")
ImageOps: Any = import_module("PIL.ImageOps")

_FAILURES: Final = (
    *(OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error),
)
"""What Pillow raises for damaged files."""
_TOO_LARGE: Final = (
    f"the picture has more than {MAX_PIXELS:,} pixels, or {MAX_SIDE:,} on a side: scale it down"
)


def open_picture(data: bytes) -> Any:
    """The `PIL.Image.Image` in RGB, upright, on white where it is transparent.

    Raises:
        Refused: it is in another format, damaged, animated, or too large.
    """
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    kind = picture_format(data)
    if not kind:
        raise Refused("the file is not a PNG, JPEG, WebP or GIF picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Only the decoder of that format: others start programs or read other files.
            with Image.open(io.BytesIO(data), formats=[kind]) as picture:
                _check(picture, kind)
                picture.load()
                return _as_rgb(ImageOps.exif_transpose(picture))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(_TOO_LARGE) from None
    except _FAILURES as error:
        raise Refused(f"the {kind} picture cannot be decoded ({type(error).__name__})") from None


def _check(picture: Any, kind: str) -> None:
    """Look at the header, before pixels are decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise Refused(_TOO_LARGE)
    if max(width, height) > MAX_RATIO * min(width, height):
        raise Refused(f"the picture is a line of {width:,} x {height:,} pixels: crop it")
    # Cameras put a second picture, such as a depth map, into a JPEG; the first one is shown.
    if kind != "JPEG" and getattr(picture, "is_animated", False):
        raise Refused("the picture is animated: send one frame of it")


def _as_rgb(picture: Any) -> Any:
    if picture.mode.startswith("I"):  # 16 bits per pixel
        picture = picture.convert("I").point([value >> 8 for value in range(1 << 16)], "L")
    if picture.has_transparency_data:
        shown = picture.convert("RGBA")
        white = Image.new("RGBA", shown.size, "white")
        return Image.alpha_composite(white, shown).convert("RGB")
    return picture.convert("RGB")
