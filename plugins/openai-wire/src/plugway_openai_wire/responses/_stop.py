"""Applies stop sequences for an API that lacks them: cuts the text where one appears."""

from __future__ import annotations


class StopCut:
    """Passes text on, holding back only a possible start of a stop sequence."""

    __slots__ = ("_held", "_stops")

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._stops = stops
        self._held: str = ""

    def feed(self, text: str) -> tuple[str, str | None]:
        """Return the text to send now, and the stop sequence if one was found."""
        if not self._stops:
            return text, None
        text = self._held + text
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, stop = min(found)
            self._held = ""
            return text[:at], stop
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], None

    def flush(self) -> str:
        """Return the text held back, at the end of a text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` match the start of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
