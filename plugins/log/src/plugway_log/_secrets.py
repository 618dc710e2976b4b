"""Redacts the keys and tokens of this process in logs and errors, in any encoding.

Errors of upstreams are included, because some repeat the key that they were sent. Text of a model
is not changed: the same key may be in the user's own files.
"""

from __future__ import annotations

import re
import threading
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

SHORTEST: Final = 6
"""Shorter values are not redacted: that would only damage the text."""
SHORTEST_IN_REPLY: Final = 8
"""The same for replies to clients: the key of a local server is often just its name."""
_LONG: Final = 20
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")
_REST: Final = rb"(?:[\w.~+/=%-]|\\+u[0-9a-fA-F]{4}|\\+/)*"


class _Secret(NamedTuple):
    length: int
    core: bytes
    """Its longest piece with only one encoding; searching for that first is fast."""
    pattern: re.Pattern[bytes]


_known: dict[str, _Secret] = {}
_passing: dict[str, _Secret] = {}
_MOST_PASSING: Final = 64
_secrets: tuple[_Secret, ...] = ()
_cores: tuple[bytes, ...] = ()
"""The cores of all secrets that are redacted in replies."""
_lock = threading.Lock()


def register_secret(value: str, *, passing: bool = False) -> None:
    """Redact `value` in all logs and errors from now on; very short values are ignored.

    `passing` is for secrets of a request: only the last 64 are kept.
    """
    global _cores, _secrets
    if len(value) < SHORTEST or value in _known or value in _passing:
        return
    secret = _secret(value)
    with _lock:
        (_passing if passing else _known)[value] = secret
        for oldest in list(_passing)[:-_MOST_PASSING]:
            del _passing[oldest]
        _secrets = (*_known.values(), *_passing.values())
        _cores = tuple(s.core for s in _secrets if s.length >= SHORTEST_IN_REPLY and s.core)


def _secret(value: str) -> _Secret:
    head, pattern = value, _any_encoding(value)
    if len(value) >= _LONG:
        head = value[: max(16, 2 * len(value) // 3)]
        pattern += b"|" + _any_encoding(head) + _REST
    core = max([*_PLAIN.findall(head), ""], key=len)
    return _Secret(len(value), core.encode(), re.compile(pattern))


def without_secrets(text: str, mark: str = "[redacted]", shortest: int = SHORTEST_IN_REPLY) -> str:
    """`text` with each secret of at least `shortest` characters replaced by `mark`."""
    raw = text.encode("utf-8", "surrogatepass")
    cleaned = bytes_without_secrets(raw, mark.encode(), shortest)
    return text if cleaned is raw else cleaned.decode("utf-8", "surrogatepass")


def holds_secret(text: str) -> bool:
    """Whether `text` contains a secret that is redacted in replies."""
    return without_secrets(text) is not text


def bytes_without_secrets(
    data: bytes, mark: bytes = b"[redacted]", shortest: int = SHORTEST_IN_REPLY
) -> bytes:
    """`without_secrets` for UTF-8 bytes; returns `data` itself if it contains no secret.

    Secrets are found in plain text, escaped in JSON (also nested), in URLs and HTML, and truncated.
    """
    for length, core, pattern in _secrets:
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
"""The ends of events: two line ends, each CR, LF or both (WHATWG HTML, 9.2.5). LF, CR is omitted,
because it may be the first part of LF, CR LF."""
_END: Final = re.compile(b"|".join(_MARKS))
_BEGINNING: Final = 4096
_MOST_HELD: Final = 64 * 1024
_LONGEST: Final = 4096
"""Bytes of a long event that are held back for the next chunk; longer than any key."""


def clean_reply(body: bytes) -> bytes:
    """A reply without secrets, unless it is text of a model; errors may have any status."""
    return body if not _has_any(body) or _is_model_text(body) else bytes_without_secrets(body)


class CleanStream:
    """Redacts secrets in a stream of server-sent events, except in text of a model.

    Events with model text are recognized by their members in any API; inside of a JSON string their
    quotes would be escaped. An event is passed on when it is complete or larger than 64 KiB.
    """

    __slots__ = ("_begun", "_held", "_size", "_tail")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._begun = b""
        """The beginning of an event of which a part was passed on."""

    def feed(self, chunk: bytes) -> bytes:
        """Add a chunk; returns the bytes that can be passed on."""
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
            cut = _outside_of_secrets(data, len(data) - _LONGEST)
            self._held, self._size = [data[cut:]], len(data) - cut
            data = self._clean(data[:cut])
            self._begun = begun[:_BEGINNING]
            return data
        self._held, self._size = [data[last:]] if last < len(data) else [], len(data) - last
        return self._clean(data[:last])

    def flush(self) -> bytes:
        """The bytes still held at the end of the stream."""
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
            pieces.append(event if _is_model_text(whole) else bytes_without_secrets(event))
        return b"".join(pieces)


def _is_model_text(event: bytes) -> bool:
    return _WORDS.search(event) is not None and _ERROR.search(event) is None


def _has_any(data: bytes) -> bool:
    return any(core in data for core in _cores)


def _outside_of_secrets(data: bytes, cut: int) -> int:
    """`cut`, or the start of the secret that it would split."""
    for _, core, pattern in _secrets:
        if core in data:
            spans = (match.span() for match in pattern.finditer(data))
            cut = min([start for start, end in spans if start < cut < end], default=cut)
    return cut


def _last_end(data: bytes) -> int:
    """The end of the last complete event, or 0."""
    marks = _MARKS if b"\r" in data else _MARKS[:1]
    return max((data.rfind(mark) + len(mark) for mark in marks if mark in data), default=0)


def _any_encoding(value: str) -> bytes:
    return b"".join(map(_encodings, value))


def _encodings(character: str) -> bytes:
    """A pattern for one character: plain, escaped in JSON once or more, in a URL or in HTML."""
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
