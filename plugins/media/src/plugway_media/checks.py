"""Checks of files by their size and first bytes, before a worker process is started for them.

The worker checks the rest: see `pictures`.
"""

from __future__ import annotations

from typing import Final

from plugway_wire.errors import InvalidRequest, RequestRejected

MAX_PICTURE_BYTES: Final = 20 * 2**20
MAX_AUDIO_BYTES: Final = 25 * 2**20

_PICTURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
)
_AUDIO: Final = (
    (b"ID3", "mp3"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"\x1a\x45\xdf\xa3", "webm"),
)


def picture_format(data: bytes) -> str:
    """The format of a picture by its first bytes, as Pillow names it; empty if it is none of PNG,
    JPEG, WebP and GIF."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in _PICTURES if data.startswith(start)), "")


def audio_format(data: bytes) -> str:
    """The format of an audio file by its first bytes; empty if it is none of wav, mp3, mp4, ogg,
    flac and webm."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[4:8] == b"ftyp":
        return "mp4"
    # Without a tag, mp3 starts with a frame: eleven set bits, and no reserved version or layer.
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    return next((name for start, name in _AUDIO if data.startswith(start)), "")


def check_picture(data: bytes) -> None:
    """Raise `RequestRejected` if the bytes cannot be a picture that is read here."""
    check_size(data, MAX_PICTURE_BYTES, "picture")
    if not picture_format(data):
        raise InvalidRequest(
            "the file is not a PNG, JPEG, WebP or GIF picture", retry=False, record=True
        )


def check_audio(data: bytes) -> None:
    """Raise `RequestRejected` if the bytes cannot be an audio file that is read here."""
    check_size(data, MAX_AUDIO_BYTES, "audio file")
    if not audio_format(data):
        raise InvalidRequest(
            "the file is not audio in the format wav, mp3, mp4 (m4a), ogg, flac or webm",
            retry=False,
            record=True,
        )


def check_size(data: bytes, most: int, what: str) -> None:
    """Raise `RequestRejected` if a file is empty or too large; `what` is what messages call it."""
    if not data:
        raise InvalidRequest(f"the {what} is empty", retry=False, record=True)
    if len(data) > most:
        message = f"the {what} has {len(data):,} bytes; at most {most:,} are accepted"
        raise RequestRejected(message, status=413, retry=False, record=True)
