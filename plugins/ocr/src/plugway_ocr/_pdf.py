"""PDF files: the text of each page, or what an engine reads in its picture. Only the worker
imports it.

PDFium, by `pypdfium2`, decodes them, without scripts and forms.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any, Final

from plugway_media.pictures import MAX_RATIO
from plugway_media.worker import Refused
from plugway_ocr._layout import Reading

MAX_PAGES: Final = 200
_MOST_TEXT: Final = 50_000
"""Characters, after which no further page is read."""
_LEAST_TEXT: Final = 16
"""Characters of a page that has its text; with fewer, such as only a number, it is looked at."""
_FOREIGN: Final = 0.1
"""Share of characters that cannot be shown, from which on the text of a page is not its text."""
_DOTS: Final = 200 / 72
"""Pixels for each point of a page."""
_PIXELS: Final = 4_000_000
"""Most pixels of the picture of a page; A4 has fewer."""
_MEMORY: Final = 1 << 30
"""Bytes that a file may need besides what the worker has."""
_ENCRYPTED: Final = 4
"""`FPDF_ERR_PASSWORD`."""
_AS_WRITTEN: Final = str.maketrans({"\r": None, "\x00": None, "\x02": "-", "\ufffe": "-"})
"""PDFium ends lines with CR and LF, and marks words that are divided at the end of a line."""


def read_pdf(data: bytes, look: Callable[[Any], Reading], seconds: float) -> dict[str, Any]:
    """The text of the first pages; `look` reads a picture, and no page is begun after `seconds`.

    Raises:
        Refused: the file is damaged or encrypted.
    """
    until = time.monotonic() + seconds
    texts: list[str] = []
    left = _MOST_TEXT
    with _opened(data) as document:
        count = len(document)
        for number in range(min(count, MAX_PAGES)):
            if left <= 0 or time.monotonic() > until:
                break
            text = _page(document, number, look, left)
            left -= len(text)
            texts.append(f"[Page {number + 1}]\n{text or '(no text was found on it)'}")
    unread = count - len(texts)
    if unread:
        texts.append(f"[Pages {len(texts) + 1} to {count} were not read]")
    return {"pages": count, "text": "\n".join(texts), "lines": [], "left_out": unread}


@contextlib.contextmanager
def _opened(data: bytes) -> Generator[Any]:
    pdfium: Any = import_module("pypdfium2")
    try:
        with _bounded_memory():
            document = pdfium.PdfDocument(data)
    except RuntimeError as error:  # `PdfiumError`
        if getattr(error, "err_code", None) == _ENCRYPTED:
            raise Refused("the PDF file is encrypted: remove its password") from None
        raise Refused("the PDF file is damaged") from None
    with contextlib.closing(document):
        yield document


def _page(document: Any, number: int, look: Callable[[Any], Reading], most: int) -> str:
    try:
        with _bounded_memory(), contextlib.closing(document[number]) as page:
            written, whole = _written(page, most)
            if _is_text(written):
                return written if whole else f"{written}\n(the rest of this page was not read)"
            picture = _picture(page)
        return look(picture).text or written
    except (RuntimeError, Refused):
        return "(it cannot be read)"


def _written(page: Any, most: int) -> tuple[str, bool]:
    """The text that a page contains, and whether that is all of it."""
    with contextlib.closing(page.get_textpage()) as layer:
        count: int = layer.count_chars()
        text: str = layer.get_text_range(0, min(count, most))
    return text.translate(_AS_WRITTEN).strip(), count <= most


def _is_text(written: str) -> bool:
    """Whether it is what a person sees: scans have none, and some fonts only numbers of glyphs."""
    shown = [char for char in written if not char.isspace()]
    foreign = sum(char == "\ufffd" or not char.isprintable() for char in shown)
    return len(shown) >= _LEAST_TEXT and foreign < _FOREIGN * len(shown)


def _picture(page: Any) -> Any:
    width, height = page.get_size()
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise Refused("the page has no size")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise Refused("the page is a line")
    scale = min(_DOTS, math.sqrt(_PIXELS / width / height))
    with contextlib.closing(page.render(scale=scale)) as bitmap:
        return bitmap.to_pil().convert("RGB").copy()


@contextlib.contextmanager
def _bounded_memory() -> Generator[None]:
    """A small file can ask for any amount of memory: the worker ends, not the machine."""
    try:
        resource: Any = import_module("resource")
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):  # Windows, macOS
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = used + _MEMORY if before[1] < 0 else min(used + _MEMORY, before[1])
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
