"""One picture through a worker: what the endpoint, the tool and the command have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, Field

from plugway_media.checks import check_picture
from plugway_media.engine import Engine
from plugway_upscale._options import ModelName, OutputFormat


class Wish(BaseModel, extra="forbid"):
    """How a picture is to be enlarged."""

    scale: int = Field(2, ge=2, le=4, description="How many times as wide and high: 2, 3 or 4.")
    model: ModelName | None = Field(
        None, description="`fast`, `drawing` (line art), or `photo` (minutes without a GPU)."
    )


@dataclass(frozen=True, slots=True)
class Enlarged:
    """An enlarged picture."""

    width: int
    height: int
    format: OutputFormat
    pieces: tuple[bytes, ...]
    """The file; each piece but the last has a length that is a multiple of 3."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return sum(map(len, self.pieces))


def ignore(done: int, total: int) -> None:
    """Report progress to nobody."""


async def enlarge(
    engine: Engine,
    data: bytes,
    *,
    scale: int,
    kind: OutputFormat,
    report: Callable[[int, int], None] = ignore,
) -> Enlarged:
    """Enlarge a picture; `report` is called with how many tiles are done, and of how many.

    Raises:
        RequestRejected: it is no picture that can be enlarged, or the engine cannot run now.
    """
    check_picture(data)
    pieces: list[bytes] = []
    width = height = 0
    async with engine.call({"scale": scale, "format": kind}, data) as frames:
        async for frame in frames:
            if frame.body:
                pieces.append(bytes(frame.body))
            elif "done" in frame.header:
                report(frame.header["done"], frame.header["total"])
            else:
                width, height = frame.header["width"], frame.header["height"]
    return Enlarged(width, height, kind, tuple(pieces))
