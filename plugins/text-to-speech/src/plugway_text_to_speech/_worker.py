"""The worker: starts the program that speaks, and one that encodes, and passes their output on."""

from __future__ import annotations

import logging
import selectors
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any, Final

from plugway_local_engine import Channel
from plugway_media.worker import Piece, Refused, serve
from plugway_text_to_speech._sources import Voice, Voices
from plugway_text_to_speech._spare import Spare, Started, end

_log = logging.getLogger(__name__)

_NOTHING: Final = "input: contains nothing that can be spoken"
_READ: Final = 1 << 15
_BEAT_SECONDS: Final = 0.25
_PCM_RATE: Final = 24_000
"""Samples in a second of OpenAI's `pcm`."""
WAV_HEADER: Final = 44
"""Bytes of the header of a wav file, of espeak-ng and ours."""
_ENCODERS: Final[Mapping[str, tuple[str, ...]]] = {
    "mp3": ("-c:a", "libmp3lame", "-b:a", "64k", "-f", "mp3"),
    "opus": ("-c:a", "libopus", "-b:a", "32k", "-f", "ogg"),
    "aac": ("-c:a", "aac", "-b:a", "64k", "-f", "adts"),
    "flac": ("-c:a", "flac", "-f", "flac"),
}


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine` in the child."""
    voices, spare = Voices(config), Spare()

    def handle(header: Mapping[str, Any], body: bytes) -> Iterator[Piece]:
        if header.get("list"):
            shown = [voice.shown() for voice in voices.known()]
            yield {"voices": shown}, b""
            return
        voice = voices.choose(header["voice"], header["engine"])
        if not voices.can_speak(voice, body):
            raise Refused(_NOTHING)
        command = voices.command(voice, header["speed"])
        encoder = _encoder(header["format"], voice)
        yield {"voice": voice.shown()}, b""
        try:
            for piece in _spoken(spare.take(command), encoder, voice, header["format"], body):
                yield {}, piece
        finally:
            if config["warm"] and voice.engine == "piper":
                spare.prepare(command)

    try:
        serve(channel, handle)
    finally:
        spare.close()


def _spoken(
    speaker: Started, encoder: list[str], voice: Voice, shape: str, text: bytes
) -> Iterator[bytes]:
    """The encoded sound; empty pieces while there is none. Leaving early ends the programs."""
    first, notes = speaker
    programs = [first]
    try:
        if encoder:
            pipe = subprocess.PIPE
            programs.append(
                subprocess.Popen(encoder, bufsize=0, stdin=first.stdout, stdout=pipe, stderr=notes)
            )
            _output(first).close()  # the encoder has it
        assert first.stdin is not None
        first.stdin.write(text)  # it fits into the pipe
        first.stdin.close()
        begun = False
        for piece in _shaped(_read(_output(programs[-1])), voice, shape):
            begun = begun or bool(piece)
            yield piece
        for program in programs:
            if program.wait(timeout=10):
                raise RuntimeError(f"{program.args} ended with {program.returncode}")
        if not begun:
            raise Refused(_NOTHING)
    except (RuntimeError, BrokenPipeError, subprocess.TimeoutExpired):
        notes.seek(0)
        _log.error("`%s` failed: %s", voice.id, _kind_of(notes.read()[-2000:]))
        raise
    finally:
        for program in programs[1:]:
            program.kill()
            program.wait()
            _output(program).close()
        end(speaker)


def _kind_of(notes: bytes) -> str:
    """The kind of failure that a program reports last; the rest may quote the text."""
    lines = notes.decode(errors="replace").strip().splitlines()
    return lines[-1].partition(":")[0][:100] if lines else "no message"


def _read(out: IO[bytes]) -> Iterator[bytes]:
    """What a program writes; an empty piece whenever there was nothing for a while, because a
    cancelled request ends with the next piece."""
    with selectors.DefaultSelector() as selector:
        if sys.platform != "win32":  # there, only sockets can be waited for
            selector.register(out, selectors.EVENT_READ)
        while True:
            while sys.platform != "win32" and not selector.select(_BEAT_SECONDS):
                yield b""
            data = out.read(_READ)
            if not data:
                return
            yield data


def _shaped(pieces: Iterator[bytes], voice: Voice, shape: str) -> Iterator[bytes]:
    """The pieces in the shape that is asked for: without the header of espeak-ng, with ours, or at
    the rate of OpenAI's `pcm`."""
    if shape not in ("wav", "pcm"):
        yield from pieces
        return
    skip = WAV_HEADER if voice.engine == "espeak-ng" else 0
    front = wav_header(voice.rate) if shape == "wav" else b""
    change = _resampler(voice.rate) if shape == "pcm" and voice.rate != _PCM_RATE else None
    for piece in pieces:
        sound = piece[skip:]
        skip -= min(skip, len(piece))
        if sound and change is not None:
            sound = change.feed(sound)
        if sound:
            sound, front = front + sound, b""
        yield sound
    if change is not None:
        yield change.feed(b"", last=True)


def wav_header(rate: int, size: int = 0xFFFFFFFF) -> bytes:
    """The header of a wav file with one channel of 16 bits; without a size, of one whose end is not
    known yet."""
    whole = min(0xFFFFFFFF, size + 36)
    return b"".join(
        (
            b"RIFF" + whole.to_bytes(4, "little") + b"WAVEfmt ",
            (16).to_bytes(4, "little") + b"\1\0\1\0",
            rate.to_bytes(4, "little") + (2 * rate).to_bytes(4, "little") + b"\2\0\x10\0",
            b"data" + size.to_bytes(4, "little"),
        )
    )


def _encoder(shape: str, voice: Voice) -> list[str]:
    if shape not in _ENCODERS:
        return []
    program = shutil.which("ffmpeg")
    if program is None:
        raise Refused(
            f"response_format: `{shape}` needs the program ffmpeg on the machine of the gateway "
            "(`sudo apt install ffmpeg`, `brew install ffmpeg`); `wav` and `pcm` do not"
        )
    raw = ["-f", "s16le", "-ar", str(voice.rate), "-ac", "1"]
    source = ["-f", "wav"] if voice.engine == "espeak-ng" else raw
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error"]
    return [program, *quiet, *source, "-i", "pipe:0", *_ENCODERS[shape], "-flush_packets", "1",
            "pipe:1"]  # fmt: skip


def _output(program: subprocess.Popen[bytes]) -> IO[bytes]:
    assert program.stdout is not None
    return program.stdout


def _resampler(rate: int) -> Any:
    from plugway_text_to_speech._resample import Resampler  # numpy takes time to load

    return Resampler(rate, _PCM_RATE)
