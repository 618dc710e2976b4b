"""`plugway read`: the text in pictures, without a gateway."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, cast, get_args

import anyio
import typer

from plugway import RequestRejected
from plugway_media.commands import fail, own_engine, progress, read_input
from plugway_ocr._engines import engine_spec, problem_of
from plugway_ocr._files import MAX_BYTES, check_file
from plugway_ocr._options import EngineName
from plugway_tools import harmless

read_app = typer.Typer()


@read_app.command(epilog="Example: plugway read screenshot.png | grep Error")
def read(
    images: Annotated[
        list[str], typer.Argument(help="PNG, JPEG, WebP, GIF or PDF files; `-` is standard input.")
    ],
    engine: Annotated[str, typer.Option(help="rapidocr, tesseract or vision.")] = "rapidocr",
    language: Annotated[
        list[str] | None, typer.Option(help="Language of the text, as the engine names it.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: text, lines with boxes, size.")
    ] = False,
) -> None:
    """Print the text in pictures and PDF files, as it is laid out."""
    if engine not in get_args(EngineName):
        fail(f"unknown engine {engine!r}; known: {', '.join(get_args(EngineName))}")
    name = cast("EngineName", engine)
    if problem := problem_of(name):
        fail(problem)
    found, failures = anyio.run(_read, images, name, tuple(language or ()))
    if as_json:
        out = [{"image": image, **result} for image, result in found]
        typer.echo(json.dumps(out if len(images) > 1 else out[0] if out else None, indent=2))
    else:
        for image, result in found:
            if len(images) > 1:
                typer.echo(f"== {harmless(image)}")
            typer.echo(result["text"])
    if failures:
        fail("\n".join(failures))


async def _read(
    images: Sequence[str], engine: EngineName, languages: Sequence[str]
) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    found: list[tuple[str, dict[str, Any]]] = []
    failures: list[str] = []
    async with own_engine("read", engine_spec(engine, languages)) as reader:
        with progress("reading", len(images)) as report:
            for number, image in enumerate(images):
                data = read_input(image, max_bytes=MAX_BYTES)
                try:
                    check_file(data)
                    result = dict((await reader.one({}, data)).header)
                except RequestRejected as error:
                    failures.append(f"{image}: {error.message}")
                else:
                    del result["id"]
                    found.append((image, {**result, "text": harmless(result["text"])}))
                report(number + 1)
    return found, failures
