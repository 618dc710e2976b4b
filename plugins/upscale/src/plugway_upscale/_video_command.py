"""What `plugway upscale` does with a video: see `_video`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import anyio
import typer

from plugway import RequestRejected
from plugway_media.commands import fail, own_engine, progress
from plugway_media.worker import Refused
from plugway_upscale._models import engine_spec
from plugway_upscale._options import Device
from plugway_upscale._video import SUFFIXES, Kept, Made, Task, enlarge_video, folder_of

_SECONDS: Final = 6 * 3600.0
"""For one frame; a person can stop the command."""


def video_path(path: Path | None, kind: str) -> Path:
    """The new file, if a video can be written to it."""
    if kind:
        fail("`--format` is for pictures: the end of OUT says the format of a video")
    if path is None or path.suffix.lower() not in SUFFIXES:
        fail(f"IN is a video, so OUT must end with one of {', '.join(SUFFIXES)}")
    return path


def make_video(task: Task, device: Device) -> dict[str, Any]:
    """Enlarge a video, or exit with a message; what is to be said about the new one."""
    try:
        kept = Kept(folder_of(task))
    except Refused as error:
        fail(f"{task.source}: {error}")
    try:
        made = anyio.run(_enlarge, task, kept, device)
    except KeyboardInterrupt:
        _talk_of(kept, "stopped")
        raise typer.Exit(130) from None
    except RequestRejected as error:
        fail(f"{task.source}: {error.message}")
    except Refused as error:
        fail(f"{task.source}: {error}")
    except FileExistsError:
        fail(f"{task.target} exists now: another program created it; nothing is overwritten")
    except OSError as error:
        _talk_of(kept, f"cannot go on: {error.strerror or error}")
        raise typer.Exit(1) from None
    return {
        "width": made.width,
        "height": made.height,
        "frames": made.frames,
        "kept_frames": made.kept,
        "bytes": task.target.stat().st_size,
    }


def _talk_of(kept: Kept, what: str) -> None:
    typer.echo(
        f"plugway: {what}. The same command goes on from here; what is done is in {kept.path}",
        err=True,
    )


async def _enlarge(task: Task, kept: Kept, device: Device) -> Made:
    spec = engine_spec(task.model, device, seconds=_SECONDS)
    async with own_engine("upscale", spec) as engine:
        with progress("enlarging", None) as report:
            return await enlarge_video(engine, task, kept, report)
