"""The rest of a streamed reply, after its first content."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from plugway import BackendError, BackendRefused, StreamEvent, StreamInterrupted, replay
from plugway_tool_repair._failed import PARSED_HERE, Unparsed, message_of
from plugway_tool_repair._repairer import Repairer
from plugway_wire.events import interrupted


async def rest_of(
    head: list[StreamEvent],
    source: AsyncIterator[StreamEvent],
    repairer: Repairer,
    unparsed: Callable[[BackendError], Unparsed | None],
    note: Callable[[str], None],
) -> AsyncIterator[bytes]:
    """The chunks that were read before, then the rest as it arrives.

    If it ends with an error that contains the reply's call, that call is made.
    """
    yield b"".join(item.encode() for item in head)
    while not repairer.ended:
        try:
            item = await anext(source, None)
            if item is not None and item.type == "error":
                raise interrupted(item.data)
        except (BackendRefused, StreamInterrupted) as failure:
            found = unparsed(failure)
            if found is None or not found.is_call or not repairer.drop_open_call():
                raise
            note(PARSED_HERE)
            ending = list(replay(message_of(found.text, "").parsed))[1:]
            yield b"".join(out.encode() for item in ending for out in repairer.feed(item))
            return
        if item is None:
            return
        if out := repairer.feed(item):
            yield out[0].encode() if len(out) == 1 else b"".join(i.encode() for i in out)
