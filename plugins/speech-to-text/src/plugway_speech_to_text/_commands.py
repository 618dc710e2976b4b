"""`plugway hear`: what is said in an audio file, without a gateway."""

from __future__ import annotations

import json
from typing import Annotated, cast

import anyio
import typer

from plugway import RequestRejected
from plugway_media.checks import MAX_AUDIO_BYTES
from plugway_media.commands import fail, own_engine, progress, read_input
from plugway_speech_to_text._ask import Ask, Format, read_ask
from plugway_speech_to_text._engines import engine_spec, offered, problem_of
from plugway_speech_to_text._listener import Listener
from plugway_speech_to_text._texts import Heard, body, verbose

hear_app = typer.Typer()


@hear_app.command(epilog="Example: plugway hear talk.mp3 --format srt > talk.srt")
def hear(
    file: Annotated[
        str, typer.Argument(help="wav, mp3, m4a, ogg, flac or webm; `-` is standard input.")
    ],
    model: Annotated[
        str, typer.Option(help="Name as `plugway models list` shows it, a folder, or pocketsphinx.")
    ] = "",
    language: Annotated[str, typer.Option(help="Such as `en`; default is to find out.")] = "",
    translate: Annotated[bool, typer.Option("--translate", help="Into English.")] = False,
    shape: Annotated[str, typer.Option("--format", help="text, srt or vtt.")] = "text",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: text, segments and words with times.")
    ] = False,
) -> None:
    """Print what is said in an audio file."""
    if shape not in ("text", "srt", "vtt"):
        fail(f"unknown format {shape!r}; known: text, srt, vtt")
    try:
        # The same checks as for requests.
        checked = read_ask({"language": language}, "translate" if translate else "transcribe")
    except RequestRejected as error:
        fail(error.message)
    name = offered([model] if model else [])[0]
    if problem := problem_of(name):
        fail(problem)
    data = read_input(file, max_bytes=MAX_AUDIO_BYTES)
    chosen = cast("Format", "verbose_json" if as_json else shape)
    ask = Ask(checked.task, "", chosen, checked.language, words=as_json)
    try:
        heard = anyio.run(_hear, name, data, ask)
    except RequestRejected as error:
        fail(f"{file}: {error.message}")
    if as_json:
        typer.echo(json.dumps(verbose(heard, ask), indent=2))
    else:
        typer.echo(body(heard, ask).decode(), nl=False)


async def _hear(model: str, data: bytes, ask: Ask) -> Heard:
    async with own_engine("hear", engine_spec(model, max_seconds=86_400, seconds=86_400)) as engine:
        with progress("listening", 100) as report:
            return await Listener([engine]).hear(
                data, ask, seconds=lambda done, total: report(round(100 * done / (total or 1.0)))
            )
