"""Text out of token bytes: characters that span tokens, and stop sequences that span tokens.

What the text means (speech, thinking, a tool call) is the output parser's business.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Bytes in, text out that can no longer change its meaning."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped: str | None = None
        """The stop sequence that was found; nothing after it is given out."""

    def feed(self, piece: bytes) -> str:
        """The text that is certain after `piece`."""
        text = self._decoder.decode(piece)
        return self._cut(text) if self._stops else text

    def flush(self) -> str:
        """The rest, when no more bytes come; half a character becomes a replacement mark."""
        if self.stopped is not None:
            return ""
        text = self._decoder.decode(b"", final=True)
        held, self._held = self._held, ""
        return held + text

    def _cut(self, text: str) -> str:
        if self.stopped is not None or not text:
            return ""
        text = self._held + text
        self._held = ""
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, self.stopped = min(found)
            return text[:at]
        keep = max(_overlap(text, stop) for stop in self._stops)
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
