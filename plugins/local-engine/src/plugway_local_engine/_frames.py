"""Frames between the gateway and a worker: a JSON header and an optional body of bytes.

See `_supervisor` (gateway's side) and `_worker` (child's side) for the frames that are sent.

On the wire: length of header and body together, length of the header (both 32 bits, little
endian), header, body. Because of the body, the bytes of a request are not parsed and written twice.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

_HEAD: Final = struct.Struct("<II")
MAX_FRAME: Final = 512 * 1024 * 1024
"""Maximum length; a longer frame is a bug of the other side."""


class FrameError(Exception):
    """The bytes are not a frame: the connection is no longer usable."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    header: Mapping[str, Any]
    body: bytes = b""


def encode(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    """The frame as bytes."""
    text = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join((_HEAD.pack(len(text) + len(body), len(text)), text, body))


class FrameDecoder:
    """Decodes frames from bytes that arrive in arbitrary chunks."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes.

        Raises:
            FrameError: the bytes are not a frame.
        """
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _HEAD.size:
            length, head = _HEAD.unpack_from(self._buffer, start)
            if length > MAX_FRAME or head > length:
                raise FrameError(f"a frame announces {length:,} bytes with a header of {head:,}")
            body = start + _HEAD.size
            if len(self._buffer) < body + length:
                break
            frames.append(_frame(self._buffer, body, head, length))
            start = body + length
        del self._buffer[:start]
        return frames


def _frame(buffer: bytearray, start: int, head: int, length: int) -> Frame:
    try:
        header: Any = orjson.loads(bytes(buffer[start : start + head]))
    except orjson.JSONDecodeError as error:
        raise FrameError(f"the header of a frame is not JSON: {error.msg}") from None
    if not isinstance(header, dict):
        raise FrameError("the header of a frame is not an object")
    return Frame(cast("dict[str, Any]", header), bytes(buffer[start + head : start + length]))
