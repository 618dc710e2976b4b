"""Blocks of the source while they are open, and calls in fences while it is open what they are.

What becomes of them is `_mend`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson

from plugway import MAX_EVENT_BYTES, Gathered, StreamEvent, as_object
from plugway_tool_repair._prose import Calls, Prose

_KEPT_EVENTS: Final = 1000
"""Events of a call that go to the client as they came; of more the arguments are joined."""


@dataclass(slots=True)
class Block:
    """A block of the source that is open."""

    start: StreamEvent
    kind: str
    prose: Prose | None = None
    arguments: Gathered = field(default_factory=lambda: Gathered("the arguments of a tool call"))
    events: list[StreamEvent] = field(default_factory=list[StreamEvent])
    """Of a call, as they came."""
    as_it_came: bool = True
    """All of its events are kept."""
    closed: bool = False
    """`content_block_stop` has come."""
    _kept: int = 0

    @property
    def name(self) -> str:
        """The name of the tool that it calls."""
        return str(as_object(self.start.data.get("content_block")).get("name") or "")

    @property
    def size(self) -> int:
        """Characters and bytes that it holds."""
        return self.arguments.size + self._kept

    def keep(self, item: StreamEvent) -> None:
        """Have `item` for the client, in case the call goes out as it came."""
        self._kept += len(item.raw or b"")
        if len(self.events) >= _KEPT_EVENTS or self._kept > MAX_EVENT_BYTES:
            self.as_it_came, self._kept = False, 0
            self.events.clear()
        elif self.as_it_came:
            self.events.append(item)

    def is_whole(self, *, objects: bool) -> bool:
        """Whether the arguments are whole as they stand, without a look at what follows.

        `objects`: those that come as an object are; else the server may have closed it.
        """
        if not self.arguments.size:
            given = as_object(self.start.data.get("content_block")).get("input")
            return objects and bool(given)
        text = self.arguments.text().strip()
        if text[-1:] not in {"}", "]", '"'}:
            return False
        try:
            value = orjson.loads(text)
            if isinstance(value, str):
                value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return False
        return isinstance(value, dict | list)


@dataclass(frozen=True, slots=True)
class BadCall:
    """A call that cannot be mended."""

    name: str
    arguments: str
    problems: tuple[str, ...]
    source: str = ""
    """What the model wrote in its text, where that cannot be read as a call."""


@dataclass(slots=True)
class Quoted:
    """A call in a Markdown fence: it is one where no more text follows."""

    piece: Calls
    after: Gathered = field(default_factory=lambda: Gathered("the white space after a call"))
