"""Keys and tokens that this process was given: nobody sees them, however they are spelled.

A log has none of them; neither has what an upstream says of a failure, as some repeat the key that
they were sent. What a model says is left as it is: the same key may stand in the user's own files.
"""

from __future__ import annotations

import re
import threading
from itertools import pairwise
from typing import Final, NamedTuple

SHORTEST: Final = 6
"""A value of fewer characters is no secret: taking it out would only harm the text."""
SHORTEST_TOLD: Final = 8
"""The same for what a client is told: what stands as a key of a local server may be its name."""
_LONG: Final = 20
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")
_REST: Final = rb"(?:[\w.~+/=%-]|\\+u[0-9a-fA-F]{4}|\\+/)*"


class _Secret(NamedTuple):
    length: int
    core: bytes
    """Its longest piece that is spelled in one way only; looking for that first is fast."""
    pattern: re.Pattern[bytes]


_known: dict[str, _Secret] = {}
_passing: dict[str, _Secret] = {}
_MOST_PASSING: Final = 64
_lock = threading.Lock()


def register_secret(value: str, *, passing: bool = False) -> None:
    """Keep `value` out of every log and every error from now on; very short ones are ignored.

    `passing` is for those that come with a request: only the last 64 are remembered.
    """
    if len(value) < SHORTEST or value in _known or value in _passing:
        return
    secret = _secret(value)
    with _lock:
        if passing:
            _passing[value] = secret
            for oldest in list(_passing)[:-_MOST_PASSING]:
                del _passing[oldest]
        else:
            _known[value] = secret


def _secret(value: str) -> _Secret:
    head, pattern = value, _spelled(value)
    if len(value) >= _LONG:
        head = value[: max(16, 2 * len(value) // 3)]
        pattern += b"|" + _spelled(head) + _REST
    core = max([*_PLAIN.findall(head), ""], key=len)
    return _Secret(len(value), core.encode(), re.compile(pattern))


def without_secrets(text: str, mark: str = "[redacted]", shortest: int = SHORTEST_TOLD) -> str:
    """`text` with `mark` in place of each secret of at least `shortest` characters."""
    raw = text.encode("utf-8", "surrogatepass")
    cleaned = bytes_without_secrets(raw, mark.encode(), shortest)
    return text if cleaned is raw else cleaned.decode("utf-8", "surrogatepass")


def holds_secret(text: str) -> bool:
    """Whether `text` has one that a client must not see."""
    return without_secrets(text) is not text


def bytes_without_secrets(
    data: bytes, mark: bytes = b"[redacted]", shortest: int = SHORTEST_TOLD
) -> bytes:
    """The same for bytes in UTF-8, which are given back themselves where there is none in them.

    Found is a secret as it is, in JSON (also in a text in JSON in a text), in an address, and cut
    off at its end.
    """
    for length, core, pattern in [*_known.copy().values(), *_passing.copy().values()]:
        if length >= shortest and core in data and pattern.search(data):
            data = pattern.sub(lambda _: mark, data)
    return data


_MARK: Final = b'"error"'
_ERROR: Final = re.compile(rb'"error"\s*:\s*(?!null)|:\s*"error"')
_END: Final = re.compile(rb"\n\n|\r\n\r\n|\r\r")
_TAIL: Final = 16  # longer than the mark, and the colon and spaces before it
_MOST_HELD: Final = 64 * 1024


class CleanErrors:
    """A stream of server-sent events whose errors hold no secret; anything else passes as it is.

    An error is told from a model's words by its quotes, which JSON escapes within a text.
    """

    __slots__ = ("_before", "_held", "_size", "_tail")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._before = b""
        """What went on before that which is held, as far as a mark may begin in it."""

    def feed(self, chunk: bytes) -> bytes:
        """What may go on now: an event that may be an error when it is whole, up to 64 KiB."""
        before, self._tail = self._tail, (self._tail + chunk[-_TAIL:])[-_TAIL:]
        if not self._size:
            if _MARK not in chunk and _MARK not in before + chunk[:_TAIL]:
                return chunk
            self._before = before
        self._held.append(chunk)
        self._size += len(chunk)
        if self._size <= _MOST_HELD and not _END.search(before + chunk):
            return b""
        events = b"".join(self._held)
        ends = [match.end() for match in _END.finditer(events)]
        last = ends[-1] if ends else 0
        rest = events[last:] if ends else self._before + events
        if _MARK not in rest or len(events) - last > _MOST_HELD:
            last = len(events)
        self._held, self._size = [events[last:]], len(events) - last
        return self._cleaned(events[:last], ends) if last else b""

    def flush(self) -> bytes:
        """What is held at the end of the stream."""
        return self._cleaned(b"".join(self._held), [])

    def _cleaned(self, events: bytes, ends: list[int]) -> bytes:
        pieces: list[bytes] = []
        for begin, end in pairwise([0, *ends, len(events)]):
            event = events[begin:end]
            if _ERROR.search(self._before + event):
                event = bytes_without_secrets(event)
            pieces.append(event)
            self._before = b""
        return b"".join(pieces)


def _spelled(value: str) -> bytes:
    return b"".join(map(_spellings, value))


def _spellings(character: str) -> bytes:
    """A pattern for one character: itself, escaped in JSON once or more, or as in an address."""
    raw = character.encode("utf-8", "surrogatepass")
    itself = re.escape(raw)
    if _PLAIN.fullmatch(character):
        return itself
    escaped = "".join(rf"\\+u{unit:04x}" for unit in _utf16(character)).encode()
    percent = b"".join(b"%%%02x" % byte for byte in raw)
    return b"(?:\\\\*" + itself + b"|(?i:" + escaped + b"|" + percent + b"))"


def _utf16(character: str) -> memoryview[int]:
    return memoryview(character.encode("utf-16-le", "surrogatepass")).cast("H")
