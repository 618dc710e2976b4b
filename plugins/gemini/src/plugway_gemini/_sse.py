"""The data of an event stream, from bytes in pieces of any size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import BackendProtocolError, as_object

MAX_EVENT: Final = 64 * 2**20
"""Bytes of one event; a call with large arguments comes in one."""


class DataDecoder:
    """Decodes `data:` lines; Google ends lines with CR LF and events with an empty line."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Mapping[str, Any]]:
        """The objects that are complete now.

        Raises:
            BackendProtocolError: an event is not a JSON object, or too large.
        """
        *lines, self._rest = (
            (self._rest + chunk).split(b"\n") if b"\n" in chunk else (self._rest + chunk,)
        )
        self._size += len(chunk)
        if self._size > MAX_EVENT:
            raise BackendProtocolError(f"an event of the stream is larger than {MAX_EVENT} bytes")
        found: list[Mapping[str, Any]] = []
        for line in lines:
            text = line.rstrip(b"\r")
            if text.startswith(b"data:"):
                self._data.append(text[5:].strip())
            elif not text and self._data:
                found.append(_object(b"\n".join(self._data)))
                self._data.clear()
                self._size = len(self._rest)
        return found


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        parsed: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        reason = f"the data of an event is not valid JSON: {error.msg}"
        raise BackendProtocolError(reason) from None
    if not isinstance(parsed, dict):
        raise BackendProtocolError("the data of an event is not a JSON object")
    return as_object(parsed)
