"""What a video is, and why it is refused: by its first bytes and ffprobe, before it is decoded.

FFmpeg has demuxers and decoders for hundreds of formats, some of which open further files. Only
those that are named here run, and only on the file itself.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from plugway import as_list, as_object
from plugway_media.worker import Refused

INSTALL: Final = (
    "videos need the programs ffmpeg and ffprobe, version 5.1 or newer: `sudo apt install ffmpeg` "
    "on Debian and Ubuntu, `brew install ffmpeg` on macOS"
)
MAX_BYTES: Final = 8 << 30
MAX_FRAME_PIXELS: Final = 36_000_000
"""Pixels of an enlarged frame: 8K is the largest that players know."""
MAX_SIDE: Final = 16_000
_PICTURE_BRANDS: Final = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")
_VIDEO_CODECS: Final = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores")
_DECODERS: Final = (
    *_VIDEO_CODECS,
    *("libvpx", "libvpx-vp9", "libdav1d", "libaom-av1"),
    *("aac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "alac", "ac3", "eac3"),
    *(
        "pcm_s16le",
        "pcm_s16be",
        "pcm_s24le",
        "mov_text",
        "subrip",
        "srt",
        "ass",
        "ssa",
        "webvtt",
        "dvdsub",
        "pgssub",
    ),
    *("dca", "truehd"),
)
_NOT_LISTED: Final = re.compile(rb"Codec \((\w{1,40})\) not on whitelist")
_PREFIX: Final = re.compile(r"^(\[[^\]]{1,80}\] )+")
_HDR: Final = ("smpte2084", "arib-std-b67")
_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Video:
    """A video that can be enlarged."""

    path: Path
    demuxer: str
    width: int
    height: int
    matrix: str
    """`bt709` or `smpte170m`: how its colours are to be understood."""
    aspect: str
    """Shape of a pixel, such as `1/1`."""
    rate: str
    """Frames in a second, such as `30000/1001`; empty if it is not known."""
    copies: bool
    """Whether it has sound or subtitles."""

    def source(self) -> list[str]:
        """The options of FFmpeg that open it, and nothing else."""
        return [
            *("-protocol_whitelist", "file,pipe", "-f", self.demuxer),
            *("-codec_whitelist", ",".join(_DECODERS), "-i", f"file:{self.path}"),
        ]


def is_video(path: Path) -> bool:
    """Whether the first bytes are those of an MP4, MOV, MKV or WebM file."""
    return _demuxer(path) != ""


def check_bytes(path: Path) -> None:
    """Raise `Refused` if a file is too large to be read at all."""
    if path.stat().st_size > MAX_BYTES:
        raise Refused(f"the video has more than {MAX_BYTES:,} bytes: cut it into parts")


def look_at(path: Path, scale: int, max_seconds: float) -> Video:
    """Read the headers of a video.

    Raises:
        Refused: it cannot be enlarged, or ffmpeg is not installed.
    """
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        raise Refused(INSTALL)
    demuxer = _demuxer(path)
    found = _probe(path.resolve(), demuxer)
    streams = [as_object(one) for one in as_list(found.get("streams"))]
    films = [one for one in streams if one.get("codec_type") == "video" and not _is_cover(one)]
    if not films:
        raise Refused("the file contains no video")
    film = films[0]
    if film.get("codec_name") not in _VIDEO_CODECS:
        known = ", ".join(_VIDEO_CODECS)
        raise Refused(f"the video has the codec {film.get('codec_name')!s:.30}; known: {known}")
    if film.get("color_transfer") in _HDR:
        raise Refused("the video is HDR, whose brightness would be lost: convert it to SDR first")
    width, height = _size(film)
    _check_size(width, height, scale)
    seconds = _number(as_object(found.get("format")).get("duration"))
    if seconds > max_seconds:
        raise Refused(too_long(max_seconds))
    turned = round(_rotation(film)) % 180 == 90
    aspect = _ratio(film, "sample_aspect_ratio", ":") or "1/1"
    return Video(
        path.resolve(),
        demuxer,
        *((height, width) if turned else (width, height)),
        _matrix(film, height),
        "/".join(reversed(aspect.split("/"))) if turned else aspect,
        _ratio(film, "r_frame_rate", "/"),
        any(one.get("codec_type") in ("audio", "subtitle") for one in streams),
    )


def too_long(max_seconds: float) -> str:
    """Why a long video is refused."""
    return f"the video is longer than {max_seconds:g} s: cut it, or allow more with `--max-seconds`"


def _demuxer(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" and head[8:12] not in _PICTURE_BRANDS:
        return "mov"
    return "matroska" if head.startswith(b"\x1a\x45\xdf\xa3") else ""


def _probe(path: Path, demuxer: str) -> Mapping[str, Any]:
    command = [
        *("ffprobe", "-v", "error", "-protocol_whitelist", "file", "-f", demuxer),
        *("-codec_whitelist", ",".join(_DECODERS), "-print_format", "json"),
        *("-show_format", "-show_streams", f"file:{path}"),
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
        if found := _NOT_LISTED.search(done.stderr):
            raise Refused(f"the video has the codec {found[1].decode()}, which is not decoded here")
        if done.returncode:
            raise Refused(f"the video cannot be read: {reason_in(done.stderr)}")
        return as_object(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, ValueError):
        raise Refused("the video cannot be read: ffprobe does not understand it") from None


def reason_in(notes: bytes) -> str:
    """The first thing that FFmpeg complained about; later ones follow from it."""
    first = next(iter(notes.decode("utf-8", "replace").strip().splitlines()), "no message")
    text = _PREFIX.sub("", first)
    return "".join(c if c.isprintable() else " " for c in text)[:200]


def _is_cover(stream: Mapping[str, Any]) -> bool:
    return bool(as_object(stream.get("disposition")).get("attached_pic"))


def _size(film: Mapping[str, Any]) -> tuple[int, int]:
    width, height = film.get("width"), film.get("height")
    if type(width) is not int or type(height) is not int or min(width, height) < 2:
        raise Refused("the video says no size")
    return width, height


def _check_size(width: int, height: int, scale: int) -> None:
    large = (width * scale, height * scale)
    if large[0] * large[1] > MAX_FRAME_PIXELS or max(large) > MAX_SIDE:
        raise Refused(
            f"the enlarged video would have {large[0]:,} x {large[1]:,} pixels; at most "
            f"{MAX_FRAME_PIXELS:,}, and {MAX_SIDE:,} on a side are made: use a smaller scale"
        )


def _number(value: object) -> float:
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return 0.0  # not stated: it is counted while frames are decoded


def _rotation(film: Mapping[str, Any]) -> float:
    sides: Sequence[Any] = as_list(film.get("side_data_list"))
    return next((_number(turn) for one in sides if (turn := as_object(one).get("rotation"))), 0.0)


def _ratio(film: Mapping[str, Any], name: str, sign: str) -> str:
    """Two whole numbers as `1/2`; empty if they are not stated."""
    first, _, second = str(film.get(name, "")).partition(sign)
    known = first.isdecimal() and second.isdecimal() and int(first) and int(second)
    return f"{int(first)}/{int(second)}" if known else ""


def _matrix(film: Mapping[str, Any], height: int) -> str:
    """As stated; or else as players guess it, by the height."""
    stated = film.get("color_space")
    if stated in ("smpte170m", "bt470bg", "fcc"):
        return "smpte170m"
    return "bt709" if stated == "bt709" or height >= 720 else "smpte170m"
