"""`plugway upscale`: enlarges a picture or a video, without a gateway."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Final, cast, get_args

import anyio
import typer

from plugway import RequestRejected
from plugway_media.checks import MAX_PICTURE_BYTES
from plugway_media.commands import (
    check_output,
    fail,
    own_engine,
    progress,
    read_input,
    write_output,
)
from plugway_upscale._enlarging import Enlarged, enlarge
from plugway_upscale._models import engine_spec, problem
from plugway_upscale._options import Device, ModelName, OutputFormat
from plugway_upscale._probe import is_video
from plugway_upscale._video import SUFFIXES, Task
from plugway_upscale._video_command import make_video, video_path

upscale_app = typer.Typer()
_SECONDS: Final = 6 * 3600.0
"""A person can stop the command."""
_FORMATS: Final[dict[str, OutputFormat]] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}


@upscale_app.command(epilog="Example: plugway upscale small.png large.png --scale 4")
def upscale(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="A PNG, JPEG, WebP or GIF file, `-` for a pipe; or a video."
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="OUT", help="The new file (png, jpg, webp; mp4, mov, mkv); `-` is a pipe."
        ),
    ],
    scale: Annotated[int, typer.Option(min=2, max=4, help="How many times as large.")] = 2,
    model: Annotated[str, typer.Option(help="fast, drawing or photo.")] = "fast",
    device: Annotated[str, typer.Option(help="auto, cpu or vulkan.")] = "auto",
    kind: Annotated[
        str, typer.Option("--format", help="png, jpeg or webp; default: the end of OUT.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the frames of a video that are done.")
    ] = False,
    max_seconds: Annotated[
        float, typer.Option(min=0.1, help="Longest video that is accepted.")
    ] = 600.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON about OUT: size, bytes, seconds.")
    ] = False,
) -> None:
    """Enlarge a picture, or a video frame by frame, with Real-ESRGAN."""
    for value, known in ((model, ModelName), (device, Device), (kind or "png", OutputFormat)):
        if value not in get_args(known):
            fail(f"unknown {value!r}; known: {', '.join(get_args(known))}")
    path = None if target == "-" else Path(target)
    if path is None and as_json:
        fail("`--json` and the picture cannot both go to standard output: name a file for OUT")
    check_output(target, force=force)
    chosen, runs_on, started = cast("ModelName", model), cast("Device", device), time.monotonic()
    if _is_video(source):
        task = Task(
            Path(source), video_path(path, kind), scale, chosen, max_seconds, force, restart
        )
        _check_installed()
        about = make_video(task, runs_on)
    else:
        wanted = cast("OutputFormat", kind or _format_for(path))
        _check_installed()
        data = read_input(source, max_bytes=MAX_PICTURE_BYTES)
        try:
            found = anyio.run(_enlarge, data, scale, chosen, runs_on, wanted)
        except RequestRejected as error:
            fail(f"{source}: {error.message}")
        write_output(target, found.pieces, force=force)
        about = _about(found)
    if as_json:
        seconds = round(time.monotonic() - started, 2)
        typer.echo(json.dumps({"path": target, **about, "seconds": seconds}))


def _check_installed() -> None:
    if missing := problem():
        fail(missing)


def _is_video(source: str) -> bool:
    try:
        return source != "-" and is_video(Path(source))
    except OSError as error:
        fail(f"cannot read {source}: {error.strerror or error}")


def _format_for(path: Path | None) -> OutputFormat:
    found = _FORMATS.get(path.suffix.lower()) if path else "png"
    if found is None and path and path.suffix.lower() in SUFFIXES:
        fail(f"{path} would be a video, but IN is not an MP4, MOV, MKV or WebM file")
    if found is None:
        fail(f"{path} says no format: name it .png, .jpg or .webp, or add `--format`")
    return found


def _about(found: Enlarged) -> dict[str, Any]:
    return {
        "width": found.width,
        "height": found.height,
        "format": found.format,
        "bytes": found.size,
    }


async def _enlarge(
    data: bytes, scale: int, model: ModelName, device: Device, kind: OutputFormat
) -> Enlarged:
    spec = engine_spec(model, device, seconds=_SECONDS)
    async with own_engine("upscale", spec) as engine:
        with progress("enlarging", 100) as report:
            return await enlarge(
                engine,
                data,
                scale=scale,
                kind=kind,
                report=lambda done, total: report(100 * done / total),
            )
