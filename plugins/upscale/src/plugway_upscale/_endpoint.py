"""`POST /v1/images/upscale`: reads the request, and answers in the shape of OpenAI's images."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, Literal

import anyio.lowlevel
import orjson
from pydantic import Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from plugway_media.checks import MAX_PICTURE_BYTES
from plugway_media.uploads import Form, decode_base64, read_form
from plugway_tools import problems_of
from plugway_upscale._enlarging import Enlarged, Wish
from plugway_upscale._options import OutputFormat
from plugway_wire.errors import InvalidRequest

_FILES: Final = ("image", "file")
"""Names of the picture in a form."""


class Body(Wish):
    """The fields of a request besides its picture."""

    output_format: OutputFormat = "png"
    response_format: Literal["b64_json", "image"] = Field("b64_json")


async def read(request: Request) -> tuple[Body, bytes]:
    """The fields and the picture. Raises `RequestRejected`."""
    form = await read_form(request, max_bytes=MAX_PICTURE_BYTES)
    fields = dict(form.fields)
    data = await _picture(form, fields)
    try:
        return Body.model_validate(fields), data
    except ValidationError as error:
        problems, known = problems_of(Body, error)
        message = f"{problems} (known: `image`, {known})"
        raise InvalidRequest(message, retry=False, record=True) from None


async def _picture(form: Form, fields: dict[str, Any]) -> bytes:
    """The picture; also takes it out of the fields."""
    data = next((form.files[name] for name in _FILES if name in form.files), None)
    if data is not None:
        return data
    text = fields.pop("image", None)
    if text is None:
        raise InvalidRequest(
            "image: base64, a `data:` URL, or a file in a form is required",
            retry=False,
            record=True,
        )
    return await decode_base64(text, "image", max_bytes=MAX_PICTURE_BYTES)


def answer(found: Enlarged, model: str, body: Body) -> Response:
    """The picture, or JSON with its base64, sent in pieces: the event loop has other work."""
    if body.response_format == "image":
        headers = {
            "content-length": str(found.size),
            "plugway-image-size": f"{found.width}x{found.height}",
        }
        return StreamingResponse(_raw(found), headers=headers, media_type=f"image/{found.format}")
    about = {
        "created": int(time.time()),
        "model": model,
        "output_format": found.format,
        "size": f"{found.width}x{found.height}",
    }
    return StreamingResponse(_json(found, about), media_type="application/json")


async def _raw(found: Enlarged) -> AsyncGenerator[bytes]:
    for piece in found.pieces:
        yield piece


async def _json(found: Enlarged, about: Mapping[str, object]) -> AsyncGenerator[bytes]:
    yield orjson.dumps(about)[:-1] + b',"data":[{"b64_json":"'
    for piece in found.pieces:
        yield base64.b64encode(piece)
        await anyio.lowlevel.checkpoint()
    yield b'"}]}'
