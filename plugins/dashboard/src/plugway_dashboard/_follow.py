"""Running exchanges in a terminal: lines that are rewritten, or lines where a state changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from plugway_dashboard._waits import AGAIN_SECONDS, FIRST_SECONDS, THEN_SECONDS

_CLEAR: Final = "\r\x1b[2K"
_CLEAR_ABOVE: Final = "\x1b[1A\x1b[2K"
_MOST_LINES: Final = 8


def plain(text: object) -> str:
    """`text` without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


class RunningLines:
    """Shows running exchanges, as `plugway logs --follow` gets them twice a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._drawn = 0
        """Number of lines that are on the terminal, to be rewritten."""
        self._phases: dict[str, tuple[object, ...]] = {}
        self._waits: dict[str, int] = {}
        """How many lines about waiting are due for each request, where nothing is rewritten."""

    def clear(self) -> None:
        """Remove the lines that are rewritten, before something else is printed."""
        if self._drawn:
            self._console.file.write(_CLEAR + _CLEAR_ABOVE * (self._drawn - 1))
            self._drawn = 0

    def show(self, running: Sequence[Mapping[str, Any]]) -> None:
        """Show what runs now."""
        if self._live:
            self.clear()
            if running:
                self._draw(running)
            self._console.file.flush()
            return
        known, self._phases = self._phases, {}
        waited, self._waits = self._waits, {one["request_id"]: _waits(one) for one in running}
        for one in running:
            key = one["request_id"]
            tools = tuple(tool["name"] for tool in one["tools"])
            self._phases[key] = phase = (one["phase"], one["target"], one["attempts"], tools)
            if known.get(key) != phase or self._waits[key] > waited.get(key, 0):
                self._console.print(Text(f"running   {_words(one)}"))

    def _draw(self, running: Sequence[Mapping[str, Any]]) -> None:
        """Write a line for each of the longest, without a line break after the last."""
        room = max(1, min(_MOST_LINES, self._console.height - 2))
        longest = sorted(running, key=lambda one: one["seconds"], reverse=True)[:room]
        hidden = len(running) - len(longest)
        lines: list[str] = []
        for one in longest:
            more = f"  and {hidden} more" if hidden and one is longest[-1] else ""
            text = Text(f"running   {_words(one)}")
            text.truncate(max(1, self._console.width - len(more) - 1), overflow="ellipsis")
            lines.append(text.plain + more)
        self._console.file.write("\n".join(lines))
        self._drawn = len(lines)


def _waits(one: Mapping[str, Any]) -> int:
    """As many lines as the log has, for a request without content."""
    seconds = one["seconds"]
    if one["first_content_seconds"] is not None or seconds < FIRST_SECONDS:
        return 0
    return 1 + (seconds >= AGAIN_SECONDS) + int(max(0.0, seconds - AGAIN_SECONDS) // THEN_SECONDS)


def _words(one: Mapping[str, Any]) -> str:
    agent = f" of agent {str(one['agent_id'])[:8]}" if one["agent_id"] else ""
    since = f"{one['seconds']:.0f} s  caller {one['caller']}"
    return plain(f"{one['model_asked']}{agent}: {one['state']}  {since}")
