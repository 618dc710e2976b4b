"""Open blocks of the source, and calls in code fences that are not decided yet.

See `_repairer` for what happens to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from plugway import StreamEvent, as_object
from plugway_tool_repair._pieces import Calls
from plugway_tool_repair._prose import Prose
from plugway_wire.gather import MAX_EVENT_BYTES, Gathered

_KEPT_EVENTS: Final = 1000
"""Maximum events of a call that are sent on as received; of more, the arguments are joined."""


@dataclass(slots=True)
class Block:
    """An open block of the source."""

    start: StreamEvent
    kind: str
    prose: Prose | None = None
    arguments: Gathered = field(default_factory=lambda: Gathered("the arguments of a tool call"))
    events: list[StreamEvent] = field(default_factory=list[StreamEvent])
    """Events of a call, as received."""
    as_it_came: bool = True
    """Whether all of its events are kept."""
    closed: bool = False
    """Whether `content_block_stop` was received."""
    _kept: int = 0

    @property
    def name(self) -> str:
        """Name of the called tool."""
        return str(as_object(self.start.data.get("content_block")).get("name") or "")

    @property
    def size(self) -> int:
        """Size of the kept data, in characters and bytes."""
        return self.arguments.size + self._kept

    def keep(self, item: StreamEvent) -> None:
        """Keep `item`, in case the call is sent on unchanged."""
        self._kept += len(item.raw or b"")
        if len(self.events) >= _KEPT_EVENTS or self._kept > MAX_EVENT_BYTES:
            self.as_it_came, self._kept = False, 0
            self.events.clear()
        elif self.as_it_came:
            self.events.append(item)

    def is_whole(self, *, objects: bool) -> bool:
        """Whether the arguments are complete, judged without what follows.

        `objects`: arguments sent as an object are complete; else the server may have closed it.
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


def without_calls(blocks: Mapping[Any, Block]) -> dict[Any, Block] | None:
    """The open blocks without those of calls; None if a text may hold one."""
    if any(block.prose is not None and block.prose.holds_call for block in blocks.values()):
        return None
    return {index: block for index, block in blocks.items() if block.kind != "tool_use"}


@dataclass(frozen=True, slots=True)
class BadCall:
    """A call that cannot be repaired."""

    name: str
    arguments: str
    problems: tuple[str, ...]
    source: str = ""
    """Text of the model that could not be parsed as a call."""
    others: tuple[tuple[str, str], ...] = ()
    """Name and arguments of the valid calls beside it, which were not sent either."""


@dataclass(slots=True)
class Quoted:
    """A call in a Markdown fence: it only counts as a call if no more text follows."""

    piece: Calls
    after: Gathered = field(default_factory=lambda: Gathered("the white space after a call"))
