"""Turns cumulative snapshots of a reply into deltas, and applies stop sequences. No I/O."""

from __future__ import annotations


class Deltas:
    """The part of each snapshot that was not sent yet.

    Sent text cannot be taken back: if a snapshot changes what an earlier one contained, only what
    is longer than the sent text follows.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._stops = stops
        self.sent = ""
        self.stopped: str | None = None
        """The stop sequence that ended the reply."""

    def feed(self, snapshot: str, *, final: bool = False) -> str:
        """The new text. Before the `final` snapshot the start of a stop sequence is held back."""
        if self.stopped is not None:
            return ""
        found = [(at, stop) for stop in self._stops if (at := snapshot.find(stop)) >= 0]
        end = len(snapshot)
        if found:
            end, self.stopped = min(found)
        elif not final:
            end -= self._held(snapshot)
        new = snapshot[len(self.sent) : end]
        self.sent += new
        return new

    def _held(self, snapshot: str) -> int:
        """Length of the longest end of `snapshot` that starts a stop sequence."""
        longest = max(map(len, self._stops), default=0)
        for size in range(min(longest, len(snapshot)), 0, -1):
            if any(stop.startswith(snapshot[-size:]) for stop in self._stops):
                return size
        return 0
