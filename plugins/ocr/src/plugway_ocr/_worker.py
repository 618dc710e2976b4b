"""The worker: decodes a picture or PDF file within limits, and reads it with an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from plugway_local_engine import Channel, LoadFailed
from plugway_media.worker import Piece, Refused, serve
from plugway_ocr._files import is_pdf
from plugway_ocr._layout import Reading

INSTALL_TESSERACT: Final = (
    "Tesseract is not installed; on Debian and Ubuntu: `sudo apt install tesseract-ocr`, on macOS: "
    "`brew install tesseract`"
)


class Recognizer(Protocol):
    """An engine."""

    name: str

    def read(self, picture: Any) -> Reading:
        """The text of a `PIL.Image.Image` in RGB. Raises `Refused`."""
        ...


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine` in the child."""
    try:
        from plugway_media.pictures import open_picture

        engine = load(config["engine"], config["languages"])
    except ImportError as error:
        raise LoadFailed(missing(config["engine"], error.name or "")) from None
    except FileNotFoundError:
        raise LoadFailed(INSTALL_TESSERACT) from None

    def handle(header: Mapping[str, Any], body: bytes) -> Iterator[Piece]:
        if is_pdf(body):
            yield {"engine": engine.name, **_pages(body, engine, config["seconds"])}, b""
            return
        picture = open_picture(body)
        reading = engine.read(picture)
        lines = [
            {"text": p.text, "box": [round(p.left), round(p.top), round(p.right), round(p.bottom)],
             "score": p.score}
            for p in reading.pieces
        ]  # fmt: skip
        size = (picture.width, picture.height)
        width, height = size[::-1] if reading.turn in (90, 270) else size
        found = {
            "engine": engine.name,
            "width": width,
            "height": height,
            "text": reading.text,
            "lines": lines,
            "left_out": reading.left_out,
        }
        yield found, b""

    serve(channel, handle)


def _pages(data: bytes, engine: Recognizer, seconds: float) -> dict[str, Any]:
    """What is written in a PDF file."""
    from plugway_ocr._pdf import read_pdf

    try:
        return read_pdf(data, engine.read, seconds / 2)
    except ImportError as error:
        raise Refused(f"`{error.name}` cannot be loaded") from None


def load(name: str, languages: list[str]) -> Recognizer:
    """Load an engine. Raises `ImportError` or `FileNotFoundError` if it is not installed."""
    if name == "tesseract":
        from plugway_ocr._tesseract import Tesseract

        return Tesseract(languages)
    if name == "vision":
        from plugway_ocr._vision import Vision

        return Vision(languages)
    from plugway_ocr._rapidocr import RapidOcr

    return RapidOcr()


def missing(engine: str, module: str) -> str:
    """What to install for an engine whose `module` is missing."""
    return f"`{module}` is not installed: run `pip install './plugins/ocr[{engine}]'`"
