"""`plugway say`: speaks a text, without a gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import anyio
import typer

from plugway import RequestRejected
from plugway_media.commands import (
    check_output,
    fail,
    own_engine,
    progress,
    read_input,
    to_terminal,
    write_output,
)
from plugway_text_to_speech._ask import Ask, Format, read_ask
from plugway_text_to_speech._engines import engine_spec, problem_of
from plugway_text_to_speech._options import MOST_CHARACTERS
from plugway_text_to_speech._worker import WAV_HEADER, wav_header
from plugway_tools import harmless

say_app = typer.Typer()
_PLAYERS: Final = (
    ("afplay",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
)


@say_app.command(epilog="Example: plugway say 'The build is done' -o done.wav")
def say(
    text: Annotated[
        list[str] | None, typer.Argument(help="The text; without one, or `-`, standard input.")
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="A file, or `-`; without one, the text is played."),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    voice: Annotated[str, typer.Option(help="A name that --list shows.")] = "",
    shape: Annotated[
        str, typer.Option("--format", help="wav, mp3, opus, aac, flac or pcm; default by the file.")
    ] = "",
    speed: Annotated[float, typer.Option(help="From 0.25 to 4.")] = 1.0,
    show: Annotated[bool, typer.Option("--list", help="List the voices.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON about the result.")] = False,
) -> None:
    """Speak a text: through the loudspeaker, into a file, or into a pipe."""
    if problem := problem_of((), None):
        fail(problem)
    try:
        if show:
            _show(anyio.run(_voices), as_json=as_json)
            return
        if output == "-" and as_json:
            fail("`--json` and the sound cannot both go to standard output: name a file with -o")
        piped = not output and not as_json and not to_terminal()
        place = "-" if piped else output
        chosen = shape or _format_of(place)
        if place:
            check_output(place, force=force)
        player = () if place else _player()
        fields = {"input": _text(text), "voice": voice, "response_format": chosen, "speed": speed}
        ask = read_ask(fields, MOST_CHARACTERS)
        facts, sound = anyio.run(_say, ask)
    except RequestRejected as error:
        fail(error.message)
    if ask.format == "wav":
        sound = wav_header(facts["sample_rate"], len(sound) - WAV_HEADER) + sound[WAV_HEADER:]
    if place:
        write_output(place, [sound], force=force)
    else:
        _play(player, sound, ask.format)
    if as_json and place != "-":
        about = {"file": place or None, "format": ask.format, "bytes": len(sound), "voice": facts}
        typer.echo(json.dumps(about, indent=2))


def _format_of(place: str) -> str:
    suffix = Path(place).suffix.removeprefix(".").lower()
    if suffix and suffix not in get_args(Format):
        fail(f"{place} says no known format: name it .wav or .mp3, or add `--format`")
    return suffix or "wav"


def _text(words: Sequence[str] | None) -> str:
    if words and list(words) != ["-"]:
        return " ".join(words)
    return read_input("-", max_bytes=4 * MOST_CHARACTERS).decode("utf-8", "replace")


def _player() -> Sequence[str]:
    for command in _PLAYERS:
        if shutil.which(command[0]):
            return command
    fail("no program that plays sound is installed (aplay, ffplay): write a file with -o FILE")


def _play(player: Sequence[str], sound: bytes, shape: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"speech.{shape}"
        path.write_bytes(sound)
        if subprocess.run([*player, str(path)], check=False).returncode:
            fail(f"`{player[0]}` could not play the sound: write a file with -o FILE")


def _show(voices: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(voices, indent=2))
        return
    for voice in voices:
        typer.echo(harmless(f"{voice['id']:40} {voice['language']}"))


async def _voices() -> list[dict[str, Any]]:
    async with own_engine("say", engine_spec(warm=False)) as engine:
        return (await engine.one({"list": True})).header["voices"]


async def _say(ask: Ask) -> tuple[dict[str, Any], bytes]:
    facts: dict[str, Any] = {}
    sound: list[bytes] = []
    async with own_engine("say", engine_spec(warm=False)) as engine:
        with progress("speaking", None) as report:
            async with engine.call(ask.header(), ask.text.encode()) as pieces:
                async for piece in pieces:
                    facts = facts or dict(piece.header.get("voice") or {})
                    sound.append(bytes(piece.body))
                    report(len(sound))
    return facts, b"".join(sound)
