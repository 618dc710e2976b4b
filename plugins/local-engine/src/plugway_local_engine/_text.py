"""Convert token bytes to text: characters and stop sequences may span tokens.

The output parser interprets the text (reply, reasoning, a tool call).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Converts bytes to text that later bytes cannot change."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped: str | None = None
        """The stop sequence that was found; the text after it is dropped."""

    def feed(self, piece: bytes) -> str:
        """The text that is final after `piece`."""
        text = self._decoder.decode(piece)
        return self._cut(text) if self._stops else text

    def flush(self) -> str:
        """The rest of the text; an incomplete character becomes a replacement character."""
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
    """Length of the longest suffix of `text` that is a prefix of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
