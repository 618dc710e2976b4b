"""A video, frame by frame: each is enlarged like a picture, and kept until the video is written.

FFmpeg decodes and encodes. What is done is kept in a folder by the hash of the video, so that a
command that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

import anyio
import anyio.to_thread
import platformdirs
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from plugway_media.engine import Engine
from plugway_media.files import put
from plugway_media.worker import Refused
from plugway_upscale._enlarging import enlarge
from plugway_upscale._options import ModelName
from plugway_upscale._probe import Video, check_bytes, look_at, reason_in, too_long

SUFFIXES: Final = (".mp4", ".m4v", ".mov", ".mkv")
_MAX_FRAMES: Final = 500_000
_FRAME_BYTES: Final = 0.6
"""Bytes for each pixel of an enlarged frame as JPEG, at most; and room for the new video."""
_CLOCK: Final = 90_000
_JITTER: Final = 0.002
"""Seconds by which times differ where a format rounds them."""
_QUIET: Final = ("-nostdin", "-hide_banner", "-loglevel", "error")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNK: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be made of which video."""

    source: Path
    target: Path
    scale: int
    model: ModelName
    max_seconds: float
    force: bool
    restart: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A new video."""

    width: int
    height: int
    frames: int
    kept: int
    """How many of the frames were there from a command that was stopped."""


class Kept:
    """The folder of one video: times of its frames, and those that are enlarged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = path / "frames"
        self._times = path / "times.json"

    def lock(self, held: ExitStack) -> None:
        """Raises `Refused` if another command works at this video."""
        self.frames.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = held.enter_context((self.path / "lock").open("wb"))
        if not _locked(file):
            raise Refused("another command enlarges this video just now")

    def clear(self) -> None:
        """Forget what is done."""
        for path in (self._times, *self.frames.iterdir()):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove the folder if nothing is done."""
        if not self.frame(0).exists():
            shutil.rmtree(self.path, ignore_errors=True)

    def times(self) -> list[float]:
        """When each frame is shown; empty if that is not known yet."""
        try:
            return [float(time) for time in json.loads(self._times.read_bytes())]
        except (OSError, ValueError, TypeError):
            return []

    def keep_times(self, times: Sequence[float]) -> None:
        """Write them down, at once and as a whole."""
        _write(self._times, [json.dumps(list(times)).encode()])

    def frame(self, number: int) -> Path:
        """The file of a frame, from 0 on."""
        return self.frames / f"{number:08}.jpg"

    def keep_frame(self, number: int, pieces: Sequence[bytes]) -> None:
        """Write an enlarged frame, as a whole."""
        _write(self.frame(number), pieces)

    def done(self, most: int) -> int:
        """How many frames are there, from the first one on. The last one may be damaged after a
        power failure, and is made again."""
        count = next((n for n in range(most) if not self.frame(n).is_file()), most)
        return count if count == most else max(0, count - 1)


def folder_of(task: Task) -> Path:
    """Where the frames of a task are kept. Raises `Refused` if the video is too large."""
    check_bytes(task.source)
    with task.source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    parent = platformdirs.user_state_path("plugway", appauthor=False) / "upscale"
    return parent / f"{found[:32]}-{task.scale}x-{task.model}"


async def enlarge_video(
    engine: Engine, task: Task, kept: Kept, report: Callable[[int, int], None]
) -> Made:
    """Enlarge a video; `report` is called with how many frames are done, and of how many.

    Raises:
        Refused: it cannot be enlarged; the message says why.
        RequestRejected: the engine cannot run now, or refuses a frame.
        OSError: the disk is full, or a file cannot be written.
    """
    video = await anyio.to_thread.run_sync(look_at, task.source, task.scale, task.max_seconds)
    with ExitStack() as held:
        kept.lock(held)
        try:
            return await _made(engine, video, task, kept, report)
        finally:
            kept.tidy()


async def _made(
    engine: Engine, video: Video, task: Task, kept: Kept, report: Callable[[int, int], None]
) -> Made:
    if task.restart:
        kept.clear()
    if video.copies:
        await _check_copies(video, task.target, kept)
    times = kept.times()
    if not times:
        times = await _times_of(video, task.max_seconds)
        kept.keep_times(times)
    size = (video.width * task.scale // 2 * 2, video.height * task.scale // 2 * 2)
    first = kept.done(len(times))
    _check_disk(kept.path, task.target.parent, size, len(times) - first, len(times))
    report(first, len(times))
    if first < len(times):
        before = _version(video.path)
        await _enlarge_frames(engine, video, task, kept, first, len(times), report)
        if _version(video.path) != before:
            kept.clear()
            raise Refused("it was changed while it was enlarged: enlarge it again")
    await _encode(video, task, kept, times, size)
    kept.clear()
    return Made(*size, len(times), first)


async def _times_of(video: Video, max_seconds: float) -> list[float]:
    """When each frame is shown, as the decoder that is used for them says it."""
    command = [
        *("ffmpeg", *_QUIET, *video.source(), "-map", "0:V:0", "-t", str(max_seconds + 1)),
        *("-fps_mode", "passthrough", "-enc_time_base", "-1"),
        *("-vf", "scale=16:16", "-f", "framecrc", "-"),
    ]
    done = await anyio.run_process(command, check=False)
    if done.returncode:
        raise Refused(f"the video cannot be decoded: {reason_in(done.stderr)}")
    unit, times = 0.0, list[float]()
    for line in done.stdout.decode("ascii", "replace").splitlines():
        if line.startswith("#tb 0:"):
            above, _, below = line.removeprefix("#tb 0:").strip().partition("/")
            unit = int(above) / int(below)
        elif not line.startswith("#"):
            times.append(int(line.split(",")[2]) * unit)
    if not times:
        raise Refused("the video has no frame that can be decoded")
    if times[-1] - times[0] > max_seconds or len(times) > _MAX_FRAMES:
        raise Refused(too_long(max_seconds))
    return times


def _check_disk(
    state: Path, beside: Path, size: tuple[int, int], missing: int, frames: int
) -> None:
    each = size[0] * size[1] * _FRAME_BYTES
    needed = {state: missing * each, beside: frames * each / 4}
    if state.stat().st_dev == beside.stat().st_dev:
        needed = {state: sum(needed.values())}
    for folder, count in needed.items():
        free = shutil.disk_usage(folder).free
        if count > free:
            raise Refused(
                f"{missing:,} frames need up to {count / 2**30:.1f} GiB of disk, and {folder} has "
                f"{free / 2**30:.1f} GiB: free some, enlarge a part, or use a smaller scale"
            )


async def _check_copies(video: Video, target: Path, kept: Kept) -> None:
    """Before hours of work, find what would prevent copying sound and subtitles."""
    trial = kept.path / f"trial{target.suffix.lower()}"
    copies = ["-map", "0:a?", "-map", "0:s?", "-c", "copy", "-t", "1"]
    command = ["ffmpeg", "-y", *_QUIET, *video.source(), *copies, f"file:{trial}"]
    try:
        done = await anyio.run_process(command, check=False)
    finally:
        await anyio.Path(trial).unlink(missing_ok=True)
    if done.returncode:
        raise Refused(
            f"the sound or the subtitles do not fit into {target.suffix} files: name OUT .mkv "
            f"({reason_in(done.stderr)})"
        )


async def _enlarge_frames(
    engine: Engine,
    video: Video,
    task: Task,
    kept: Kept,
    first: int,
    total: int,
    report: Callable[[int, int], None],
) -> None:
    colours = f"scale=in_color_matrix={video.matrix},format=rgb24"
    command = [
        *("ffmpeg", *_QUIET, *video.source(), "-map", "0:V:0", "-fps_mode", "passthrough"),
        *("-vf", f"select=gte(n\\,{first}),{colours}", "-frames:v", str(total - first)),
        *("-c:v", "png", "-compression_level", "1", "-f", "image2pipe", "-"),
    ]
    with tempfile.TemporaryFile() as notes:
        async with await anyio.open_process(command, stderr=notes) as decoder:
            frames = BufferedByteReceiveStream(_output(decoder))
            for number in range(first, total):
                try:
                    picture = await _next_png(frames)
                except (anyio.EndOfStream, anyio.IncompleteRead):
                    notes.seek(0)
                    why = reason_in(notes.read(2000))
                    raise Refused(f"frame {number + 1} cannot be decoded: {why}") from None
                found = await enlarge(engine, picture, scale=task.scale, kind="jpeg")
                await anyio.to_thread.run_sync(kept.keep_frame, number, found.pieces)
                report(number + 1, total)


async def _next_png(frames: BufferedByteReceiveStream) -> bytes:
    """One picture of a stream of PNG files. Raises `EndOfStream`, `IncompleteRead`."""
    parts = [await frames.receive_exactly(len(_PNG))]
    kind = b""
    while kind != b"IEND":
        head = await frames.receive_exactly(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if parts[0] != _PNG or length > _MAX_CHUNK:
            raise anyio.IncompleteRead
        parts += [head, await frames.receive_exactly(length + 4)]
    return b"".join(parts)


async def _encode(
    video: Video, task: Task, kept: Kept, times: Sequence[float], size: tuple[int, int]
) -> None:
    part = await anyio.to_thread.run_sync(_begun, kept, task.target, times)
    steady = _is_steady(times, video.rate)
    listed = ("-f", "concat", "-safe", "0", "-i", "frames.ffconcat")
    frames = ("-f", "image2", "-framerate", video.rate, "-i", "frames/%08d.jpg")
    shape = (
        f"crop={size[0]}:{size[1]}:0:0,scale=in_range=pc:in_color_matrix=smpte170m:out_range=tv:"
        f"out_color_matrix={video.matrix},format=yuv420p,setsar={video.aspect}"
    )
    tags = {"-colorspace": video.matrix, "-color_primaries": video.matrix,
            "-color_trc": video.matrix, "-color_range": "tv"}  # fmt: skip
    clock = () if steady else ("-enc_time_base", f"1/{_CLOCK}")
    if not steady and task.target.suffix.lower() != ".mkv":
        clock += ("-video_track_timescale", str(_CLOCK))
    command = [
        *("ffmpeg", "-y", *_QUIET, "-itsoffset", f"{times[0]:.6f}", "-protocol_whitelist", "file"),
        *(frames if steady else listed),
        *video.source(),
        *("-map", "0:v", "-map", "1:a?", "-map", "1:s?", "-map_metadata", "1", "-c", "copy"),
        *("-c:v", "libx264", "-crf", "18", "-preset", "medium", "-vf", shape),
        *(word for pair in tags.items() for word in pair),
        *("-fps_mode", "passthrough", *clock, f"file:{part}"),
    ]
    try:
        done = await anyio.run_process(command, check=False, cwd=kept.path)
        if done.returncode:
            raise Refused(f"the new video cannot be written: {reason_in(done.stderr)}")
        await anyio.to_thread.run_sync(put, part, task.target, task.force)
    finally:
        await anyio.Path(part).unlink(missing_ok=True)


def _version(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _is_steady(times: Sequence[float], rate: str) -> bool:
    """Whether the frames are those of a constant rate, from its clock on."""
    if not rate:
        return False
    each = float(1 / Fraction(rate))
    first = round(times[0] / each)
    return all(abs(time - (first + n) * each) < _JITTER for n, time in enumerate(times))


def _begun(kept: Kept, target: Path, times: Sequence[float]) -> Path:
    """An empty file beside the target; also writes the list of frames."""
    (kept.path / "frames.ffconcat").write_text(_list_of(kept, times), "ascii")
    handle, name = tempfile.mkstemp(
        prefix=f".{target.stem[:50]}.", suffix=target.suffix.lower(), dir=target.parent
    )
    os.close(handle)
    return Path(name).resolve()


def _list_of(kept: Kept, times: Sequence[float]) -> str:
    """The frames with their durations, for FFmpeg's `concat`. Times are rounded, not durations, so
    that errors do not add up."""
    ticks = [round((time - times[0]) * 1_000_000) for time in times]
    lines = ["ffconcat version 1.0"]
    for number, (begin, end) in enumerate(pairwise([*ticks, ticks[-1] + 40_000])):
        lines += [
            f"file frames/{kept.frame(number).name}",
            f"option framerate {_CLOCK}",
            f"duration {max(1, end - begin) / 1_000_000:.6f}",
        ]
    return "\n".join([*lines, ""])


def _write(path: Path, pieces: Sequence[bytes]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.writelines(pieces)
    part.replace(path)


def _output(process: Process) -> Any:
    assert process.stdout is not None
    return process.stdout


def _locked(file: IO[bytes]) -> bool:
    """Lock the file unless another process has; the lock ends with the process."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
