"""Bodies with files: `multipart/form-data`, as audio endpoints use it, and base64 in JSON.

The kernel has read the body within `server.max_body_bytes`. `routes` has routes that take forms.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio.lowlevel
import orjson
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from plugway_wire.errors import InvalidRequest, RequestRejected
from plugway_wire.json import as_object

MULTIPART: Final = "multipart/form-data"
_MAX_FIELDS: Final = 64
_MAX_FIELD_BYTES: Final = 256 * 1024
_OVERHEAD: Final = 1 << 20
"""Bytes of a form besides its file."""
_END: Final = 1024
"""Bytes at the end of a form in which its last boundary is: of 70 characters, and line breaks."""
_SLICE: Final = 1 << 16
_BASE64_SLICE: Final = 1 << 20
"""Characters, a multiple of four."""


@dataclass(frozen=True, slots=True)
class Form:
    """The body of a request."""

    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Members of the JSON body, or text fields of the form. A form's field that is repeated, or
    whose name ends with `[]`, is a list under the name without `[]`."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """Files of a form."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the client calls these files. Use it in no path."""


async def read_form(request: Request, *, max_bytes: int, max_files: int = 1) -> Form:
    """The body of a request, a form or a JSON object; its files have at most `max_bytes` each.

    Raises:
        RequestRejected: it is too large, or malformed.
    """
    body = await request.body()
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != MULTIPART.encode():
        return Form(_json(body))
    if len(body) > max_files * max_bytes + _OVERHEAD:
        raise _too_large(len(body), max_bytes)
    _check_ends(body, options.get(b"boundary", b""))
    parser = MultiPartParser(
        request.headers,
        _slices(body),
        max_files=max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    parser.spool_max_size = len(body) + 1  # files stay in memory: the body is there already
    try:
        items = (await parser.parse()).multi_items()
    except MultiPartException as error:
        raise InvalidRequest(f"the form cannot be parsed: {error.message}", retry=False) from None
    fields: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for name, value in items:
        if isinstance(value, UploadFile):
            files[name] = await value.read()
            names[name] = (value.filename or "")[:200]
            await value.close()
            if len(files[name]) > max_bytes:
                raise _too_large(len(files[name]), max_bytes)
        else:
            _add(fields, name, value)
    return Form(fields, files, names)


async def decode_base64(text: object, path: str, *, max_bytes: int) -> bytes:
    """The bytes of base64 text, or of a `data:` URL with it; `path` names the field in errors.

    Raises:
        RequestRejected: it is too long, or not base64.
    """
    if not isinstance(text, str):
        raise InvalidRequest(f"{path}: expected base64 text", retry=False, record=True)
    if text.startswith(("http:", "https:")):
        reason = "URLs are not fetched: send base64, or a `data:` URL with it"
        raise InvalidRequest(f"{path}: {reason}", retry=False, record=True)
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise InvalidRequest(
                f"{path}: expected a `data:` URL with `;base64`", retry=False, record=True
            )
    if len(text) // 4 * 3 > max_bytes + 2:
        raise _too_large(len(text) // 4 * 3, max_bytes)
    pieces: list[bytes] = []
    try:
        for start in range(0, len(text), _BASE64_SLICE):
            pieces.append(base64.b64decode(text[start : start + _BASE64_SLICE], validate=True))
            await anyio.lowlevel.checkpoint()
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{path}: not valid base64", retry=False, record=True) from None
    return b"".join(pieces)


def _check_ends(body: bytes, boundary: bytes) -> None:
    line = b"--" + boundary
    if not boundary:
        reason = "its `content-type` names no `boundary`"
    elif not body.startswith((line, b"\r\n" + line)):
        reason = "it does not begin with the `boundary` that its `content-type` names"
    elif line + b"--" not in body[-_END:]:
        reason = "it has no end: it was cut off"
    else:
        return
    raise InvalidRequest(f"the form cannot be parsed: {reason}", retry=False, record=True)


async def _slices(body: bytes) -> AsyncGenerator[bytes]:
    """Small pieces: parsing a form takes time, and the event loop has other work."""
    for start in range(0, len(body), _SLICE):
        yield body[start : start + _SLICE]
        await anyio.lowlevel.checkpoint()


def _add(fields: dict[str, Any], name: str, value: str) -> None:
    plain = name.removesuffix("[]")
    if plain in fields:
        before = fields[plain]
        fields[plain] = [*(before if isinstance(before, list) else [before]), value]
    else:
        fields[plain] = [value] if name.endswith("[]") else value


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        message = f"the body is not valid JSON: {error.msg}"
        raise InvalidRequest(message, retry=False, record=True) from None
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", retry=False, record=True)
    return as_object(value)


def _too_large(size: int, most: int) -> RequestRejected:
    message = f"the file has about {size:,} bytes; at most {most:,} are accepted"
    return RequestRejected(message, status=413, retry=False, record=True)
