"""Decodes audio of unknown origin with PyAV, within limits. Only the worker imports it."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any, Final

import numpy as np

from plugway_media.checks import audio_format
from plugway_media.worker import Refused

RATE: Final = 16_000
_DEMUXERS: Final = {
    "wav": "wav",
    "mp3": "mp3",
    "mp4": "mp4",
    "ogg": "ogg",
    "flac": "flac",
    "webm": "matroska",
}
_CODECS: Final = ("mp3", "aac", "opus", "vorbis", "flac", "alac")
"""Besides `pcm_*`. FFmpeg has decoders for hundreds of rare formats, which nobody looks after."""
_RATES: Final = range(4_000, 384_001)
_CHANNELS: Final = range(1, 17)


def decode(data: bytes, max_seconds: float) -> Any:
    """The samples as 16-bit integers, 16,000 in a second, of one channel.

    Raises:
        Refused: it is in another format, damaged, or too long.
        ImportError: PyAV is not installed.
    """
    av: Any = import_module("av")
    kind = audio_format(data)
    if not kind:
        raise Refused("the file is not audio in the format wav, mp3, mp4, ogg, flac or webm")
    try:
        # Only the demuxer of that format: others open further files.
        with av.open(io.BytesIO(data), format=_DEMUXERS[kind], metadata_errors="ignore") as file:
            return _samples(av, file, kind, max_seconds)
    except (av.error.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        raise Refused(f"the {kind} file cannot be decoded ({type(error).__name__})") from None


def _samples(av: Any, file: Any, kind: str, max_seconds: float) -> Any:
    if not file.streams.audio:
        raise Refused(f"the {kind} file contains no sound")
    stream = file.streams.audio[0]
    context = stream.codec_context
    codec = context.codec.canonical_name
    if not codec.startswith("pcm_") and codec not in _CODECS:
        raise Refused(f"the {kind} file has the codec {codec}; convert it to wav, mp3 or opus")
    if context.sample_rate not in _RATES or context.layout.nb_channels not in _CHANNELS:
        raise Refused(
            f"the {kind} file has {context.sample_rate:,} samples a second and "
            f"{context.layout.nb_channels} channels: convert it to 16,000 and one channel"
        )
    long = Refused(f"the audio is longer than {max_seconds:g} s: send it in parts")
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces: list[Any] = []
    total = bad = good = 0
    for packet in file.demux(stream):
        try:
            frames = [out for frame in packet.decode() for out in resampler.resample(frame)]
            good += 1
        except av.error.FFmpegError:  # one damaged packet is no reason to give up
            bad += 1
            continue
        for frame in frames:
            total += frame.samples
            if total > max_seconds * RATE:
                raise long
            pieces.append(frame.to_ndarray().reshape(-1))
    pieces += [frame.to_ndarray().reshape(-1) for frame in resampler.resample(None)]
    if bad > good:
        raise Refused(f"the {kind} file is damaged: {bad} of {bad + good} packets")
    if not total:
        raise Refused(f"the {kind} file contains no sound")
    return np.concatenate(pieces)
