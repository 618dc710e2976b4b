"""Which files are read: pictures and PDF files, by their size and first bytes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from plugway import RequestRejected
from plugway_media.checks import MAX_PICTURE_BYTES, check_size, picture_format
from plugway_wire.errors import InvalidRequest

MAX_BYTES: Final = MAX_PICTURE_BYTES
_WITHIN: Final = 1024
"""Bytes at the beginning of a PDF file in which its mark is."""


def is_pdf(data: bytes) -> bool:
    """Whether a file is a PDF file."""
    return not picture_format(data) and b"%PDF-" in data[:_WITHIN]


def check_file(data: bytes) -> None:
    """Raise `RequestRejected` if the bytes cannot be a file that is read here."""
    pdf = is_pdf(data)
    check_size(data, MAX_BYTES, "PDF file" if pdf else "picture")
    if pdf and find_spec("pypdfium2") is None:
        message = "PDF files need `pypdfium2`: run `pip install './plugins/ocr[pdf]'`"
        raise RequestRejected(message, status=503, retry=False, record=True)
    if not pdf and not picture_format(data):
        raise InvalidRequest(
            "the file is not a PNG, JPEG, WebP or GIF picture, and no PDF file",
            retry=False,
            record=True,
        )
