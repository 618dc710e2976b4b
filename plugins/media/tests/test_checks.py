"""Formats by their first bytes, and limits on sizes."""

import pytest

from plugway import RequestRejected
from plugway_media.checks import (
    MAX_AUDIO_BYTES,
    MAX_PICTURE_BYTES,
    audio_format,
    check_audio,
    check_picture,
    picture_format,
)


@pytest.mark.parametrize(
    ("start", "format"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0WAVEfmt ", ""),
        (b"\x89PNG", ""),
        (b"%!PS-Adobe", ""),
        (b"<svg xmlns=", ""),
        (b"BM\0\0", ""),
        (b"II*\0", ""),
        (b"", ""),
    ],
)
def test_a_picture_is_known_by_its_first_bytes(start, format):
    assert picture_format(start) == format


@pytest.mark.parametrize(
    ("start", "format"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "wav"),
        (b"RIFF\0\0\0\0WEBPVP8 ", ""),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90", "mp3"),
        (b"\xff\xd8\xff", ""),
        (b"OggS\0", "ogg"),
        (b"fLaC\0", "flac"),
        (b"\0\0\0\x20ftypM4A ", "mp4"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"#!/bin/sh", ""),
        (b"\xff", ""),
    ],
)
def test_audio_is_known_by_its_first_bytes(start, format):
    assert audio_format(start) == format


@pytest.mark.parametrize(
    ("check", "good", "most"),
    [
        (check_picture, b"GIF89a", MAX_PICTURE_BYTES),
        (check_audio, b"OggS", MAX_AUDIO_BYTES),
    ],
)
def test_what_is_empty_unknown_or_too_large_is_refused(check, good, most):
    check(good.ljust(most, b"\0"))
    for data, status in ((b"", 400), (b"MZ\0\0", 400), (good.ljust(most + 1, b"\0"), 413)):
        with pytest.raises(RequestRejected) as caught:
            check(data)
        assert caught.value.status == status
