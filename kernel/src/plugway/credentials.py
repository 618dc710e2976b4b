"""Keys and tokens that this process was given: nobody sees them, however they are spelled.

A log has none of them; neither has what an upstream says of a failure, as some repeat the key that
they were sent. What a model says is left as it is: the same key may stand in the user's own files.
"""

from __future__ import annotations

import re
import threading
from html import escape
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
_cores: tuple[bytes, ...] = ()
"""Of all that a client must not see."""
_lock = threading.Lock()


def register_secret(value: str, *, passing: bool = False) -> None:
    """Keep `value` out of every log and every error from now on; very short ones are ignored.

    `passing` is for those that come with a request: only the last 64 are remembered.
    """
    global _cores
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
        known = (*_known.values(), *_passing.values())
        _cores = tuple(s.core for s in known if s.length >= SHORTEST_TOLD and s.core)


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


_ERROR: Final = re.compile(
    rb'"(?:errors?|error_message|base_resp)"\s*:\s*(?!null)|:\s*"error"|(?:^|[\r\n])event: ?error'
)
_WORDS: Final = re.compile(
    rb'"(?:choices|output|content|candidates)"\s*:\s*\[\s*\{'
    rb'|"(?:delta|content_block|item|part)"\s*:\s*["{]'
)
_MARKS: Final = (b"\n\n", b"\n\r\n", b"\r\r")
"""How events end: two line ends, each CR, LF or both (WHATWG HTML, 9.2.5). LF before CR is left
out: it may be the first half of LF, CR LF."""
_END: Final = re.compile(b"|".join(_MARKS))
_BEGINNING: Final = 4096
_MOST_HELD: Final = 64 * 1024
_LONGEST: Final = 4096
"""Bytes of a long event that wait for the rest of it: more than any key has."""


def clean_answer(body: bytes) -> bytes:
    """An answer without secrets, unless a model speaks in it: an error may come with any status."""
    return body if not _has_any(body) or _speaks(body) else bytes_without_secrets(body)


class CleanStream:
    """A stream of server-sent events without secrets in what is not a model's words.

    Those are told by the members that hold them, in whatever API; JSON escapes quotes in a text. An
    event goes on when it is whole, for no client can read a part, or larger than 64 KiB.
    """

    __slots__ = ("_begun", "_held", "_size", "_tail")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._begun = b""
        """How the event begins of which a part went on."""

    def feed(self, chunk: bytes) -> bytes:
        """What may go on now."""
        if not self._held and chunk.endswith((b"\n\n", b"\n\r\n")):
            self._tail = b""
            return self._clean(chunk)
        before, self._tail = self._tail, (self._tail + chunk[-3:])[-3:]
        self._held.append(chunk)
        self._size += len(chunk)
        ended = _END.search(before + chunk) is not None
        if not ended and self._size <= _MOST_HELD:
            return b""
        data = b"".join(self._held)
        last = _last_end(data) if ended else 0
        if len(data) - last > _MOST_HELD:
            begun = (b"" if last else self._begun) + data[last : last + _BEGINNING]
            cut = _outside(data, len(data) - _LONGEST)
            self._held, self._size = [data[cut:]], len(data) - cut
            data = self._clean(data[:cut])
            self._begun = begun[:_BEGINNING]
            return data
        self._held, self._size = [data[last:]] if last < len(data) else [], len(data) - last
        return self._clean(data[:last])

    def flush(self) -> bytes:
        """What is held at the end of the stream."""
        return self._clean(b"".join(self._held))

    def _clean(self, data: bytes) -> bytes:
        begun, self._begun = self._begun, b""
        if not _has_any(data):
            return data
        ends = [match.end() for match in _END.finditer(data)]
        pieces: list[bytes] = []
        for begin, end in pairwise([0, *ends, len(data)]):
            event = data[begin:end]
            whole = event if begin else begun + event
            pieces.append(event if _speaks(whole) else bytes_without_secrets(event))
        return b"".join(pieces)


def _speaks(event: bytes) -> bool:
    return _WORDS.search(event) is not None and _ERROR.search(event) is None


def _has_any(data: bytes) -> bool:
    return any(core in data for core in _cores)


def _outside(data: bytes, cut: int) -> int:
    """`cut`, or where the secret begins that it would cut in two."""
    for _, core, pattern in (*_known.copy().values(), *_passing.copy().values()):
        if core in data:
            spans = (match.span() for match in pattern.finditer(data))
            cut = min([start for start, end in spans if start < cut < end], default=cut)
    return cut


def _last_end(data: bytes) -> int:
    """Where the last whole event ends; 0 where none does."""
    marks = _MARKS if b"\r" in data else _MARKS[:1]
    return max((data.rfind(mark) + len(mark) for mark in marks if mark in data), default=0)


def _spelled(value: str) -> bytes:
    return b"".join(map(_spellings, value))


def _spellings(character: str) -> bytes:
    """A pattern for one character: itself, escaped in JSON once or more, as in an address or a
    page."""
    raw = character.encode("utf-8", "surrogatepass")
    itself = re.escape(raw)
    if _PLAIN.fullmatch(character):
        return itself
    escaped = "".join(rf"\\+u{unit:04x}" for unit in _utf16(character)).encode()
    percent = b"".join(b"%%%02x" % byte for byte in raw)
    entities = f"&#x0*{ord(character):x};|&#0*{ord(character)};|{re.escape(escape(character))}"
    others = b"|".join((escaped, percent, entities.encode("utf-8", "surrogatepass")))
    return b"(?:\\\\*" + itself + b"|(?i:" + others + b"))"


def _utf16(character: str) -> memoryview[int]:
    return memoryview(character.encode("utf-16-le", "surrogatepass")).cast("H")
