"""Decodes the data of an event stream from chunks of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from plugway import BackendProtocolError, as_object
from plugway_translation import SurrogateJoiner
from plugway_wire.bounds import check_answer
from plugway_wire.gather import MAX_EVENT_BYTES


class DataDecoder:
    """Decodes `data:` lines; Google ends lines with CR LF and events with an empty line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._surrogates = SurrogateJoiner()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Mapping[str, Any]]:
        """Yield the completed objects one by one, so that an error is raised after earlier ones.

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
                yield from self._objects(whole)

    def flush(self) -> list[Mapping[str, Any]]:
        """Return the objects of half surrogate pairs, at the end of the stream."""
        return [_object(value) for value in self._surrogates.flush()]

    def _objects(self, raw: bytes) -> list[Mapping[str, Any]]:
        check_answer(raw)
        try:
            return [_object(value) for value in self._surrogates.feed(raw)]
        except orjson.JSONDecodeError as error:
            reason = f"the data of an event is not valid JSON: {error.msg}"
            raise BackendProtocolError(reason) from None


def _object(parsed: Any) -> Mapping[str, Any]:
    if not isinstance(parsed, dict):
        raise BackendProtocolError("the data of an event is not a JSON object")
    return as_object(parsed)
