"""Detects the type of an image or document from its bytes. Pure functions."""

from __future__ import annotations

import binascii
from typing import Final, Literal

Kind = Literal["image", "document"]

_TO_STANDARD: Final = {ord("-"): "+", ord("_"): "/"}
_LOOKED_AT: Final = 64
"""Characters of base64 that suffice to detect a type."""
_SAME: Final = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
}
"""Aliases of media types."""
_BEGINS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"<svg", "image/svg+xml"),
    (b"%PDF-", "application/pdf"),
)
_BRANDS: Final = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"avif": "image/avif",
}
"""Brands after `ftyp` in ISO base media files (ISO/IEC 14496-12, 23008-12)."""


def plain_base64(data: str) -> str:
    """Normalize base64: standard alphabet, padded, no blanks; empty if `data` is not base64.

    Returns the same object if nothing changes.
    """
    if _is_base64(data):
        return data
    if data.startswith("data:"):
        data = data.partition(",")[2]
    clean = "".join(data.split()).translate(_TO_STANDARD).rstrip("=")
    clean += "=" * (-len(clean) % 4)
    return clean if _is_base64(clean) else ""


def true_type(mime: str, data: str) -> str:
    """The type detected from base64 `data`, or else `mime` in lower case without parameters."""
    declared = mime.partition(";")[0].strip().lower()
    return _detected(data[:_LOOKED_AT]) or _SAME.get(declared, declared)


def true_kind(kind: Kind, mime: str) -> Kind:
    """Correct the kind by the type: a PDF is a document, an image is not."""
    if mime == "application/pdf":
        return "document"
    return "image" if mime.startswith("image/") else kind


def _is_base64(data: str) -> bool:
    try:
        return bool(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:  # raised for non-ASCII text, too
        return False


def _detected(begin: str) -> str:
    """The type detected from the first bytes; empty if unknown."""
    try:
        first = binascii.a2b_base64(begin)
    except ValueError:
        return ""
    for mark, mime in _BEGINS:
        if first.startswith(mark):
            return mime
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "image/webp"
    if first[:2] == b"BM" and first[6:10] == b"\0\0\0\0":
        return "image/bmp"
    return _BRANDS.get(first[8:12], "") if first[4:8] == b"ftyp" else ""
