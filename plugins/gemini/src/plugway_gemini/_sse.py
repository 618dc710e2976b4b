"""The data of an event stream, from bytes in pieces of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from plugway import MAX_EVENT_BYTES, BackendProtocolError, as_object, check_answer


class DataDecoder:
    """Decodes `data:` lines; Google ends lines with CR LF and events with an empty line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Mapping[str, Any]]:
        """The objects that are complete now, one by one: an error comes after what was before it.

        Raises:
            BackendProtocolError: an event is not a JSON object, too large, or has too many
                values or levels.
        """
        self._size += len(chunk)
        if self._size > MAX_EVENT_BYTES:
            what = f"an event of the stream is larger than {MAX_EVENT_BYTES} bytes"
            raise BackendProtocolError(what)
        head, end, tail = chunk.rpartition(b"\n")
        self._rest += head
        if not end:
            self._rest += tail
            return
        lines = bytes(self._rest).split(b"\n")
        self._rest = bytearray(tail)
        for line in lines:
            text = line.rstrip(b"\r")
            if text.removeprefix(b"\xef\xbb\xbf").startswith(b"data:"):
                self._data.append(text.partition(b":")[2].strip())
            elif not text and self._data:
                whole = b"\n".join(self._data)
                self._data.clear()
                self._size = len(self._rest)
                yield _object(whole)


def _object(raw: bytes) -> Mapping[str, Any]:
    check_answer(raw)
    try:
        parsed: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        reason = f"the data of an event is not valid JSON: {error.msg}"
        raise BackendProtocolError(reason) from None
    if not isinstance(parsed, dict):
        raise BackendProtocolError("the data of an event is not a JSON object")
    return as_object(parsed)
