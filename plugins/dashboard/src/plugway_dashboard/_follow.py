"""Running exchanges in a terminal: one line that is rewritten, or lines where a state changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

_CLEAR: Final = "\r\x1b[2K"


def plain(text: object) -> str:
    """`text` without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


class RunningLines:
    """Shows running exchanges, as `plugway logs --follow` gets them twice a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal and not console.is_dumb_terminal
        self._drawn = False
        self._phases: dict[str, tuple[object, ...]] = {}

    def clear(self) -> None:
        """Remove the line that is rewritten, before something else is printed."""
        if self._drawn:
            self._console.file.write(_CLEAR)
            self._drawn = False

    def show(self, running: Sequence[Mapping[str, Any]]) -> None:
        """Show what runs now."""
        if self._live:
            self.clear()
            if running:
                self._draw(running)
            self._console.file.flush()
            return
        known, self._phases = self._phases, {}
        for one in running:
            key = one["request_id"]
            tools = tuple(tool["name"] for tool in one["tools"])
            self._phases[key] = phase = (one["phase"], one["target"], one["attempts"], tools)
            if known.get(key) != phase:
                self._console.print(Text(f"running   {_words(one)}"))

    def _draw(self, running: Sequence[Mapping[str, Any]]) -> None:
        longest = max(running, key=lambda one: one["seconds"])
        more = f"  and {len(running) - 1} more" if len(running) > 1 else ""
        text = Text(f"running   {_words(longest)}")
        text.truncate(max(1, self._console.width - len(more) - 1), overflow="ellipsis")
        self._console.file.write(text.plain + more)
        self._drawn = True


def _words(one: Mapping[str, Any]) -> str:
    agent = f"  agent {str(one['agent_id'])[:8]}" if one["agent_id"] else ""
    since = f"{one['seconds']:.0f} s  caller {one['caller']}"
    return plain(f"{one['model_asked']}: {one['state']}  {since}{agent}")
