"""Required calls in replies that are relayed in the client's own API.

The reply is held back until the call arrives. If it does not, the model is asked once more through
the Messages API; that reply is repaired like any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from plugway import Attempt, MessagesRequest, Reply, Send
from plugway_tool_repair._forced import Demand
from plugway_tool_repair._tools import Toolbox
from plugway_tool_repair._wire import next_in_time
from plugway_wire.gather import MAX_EVENT_BYTES


class Insisting:
    """A `send` that asks once more if a relayed reply lacks the required call.

    The kernel adds to the receipt what is still missing (`Reply.missing`).
    """

    def __init__(self, send: Send, toolbox: Toolbox, note: Callable[[str], None]) -> None:
        self._send = send
        self._toolbox = toolbox
        self._note = note
        self.retried = False
        """Whether it has asked once more."""

    async def __call__(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The reply; if a call is required, from the call on.

        Raises:
            BackendError: the attempt failed.
        """
        reply = await self._send(request, attempt)
        known = self.retried or reply.missing is None or reply.missing() is None
        if known or not is_expressible(request):
            return reply
        held: list[bytes] = []
        try:
            over = reply.chunks is None or await _hold(reply, reply.chunks, held, attempt)
        except BaseException:
            await reply.close()
            raise
        missing = reply.missing()
        if over and missing is not None and not missing.refused:
            await reply.close()
            self.retried = True
            self._note(f"retried: the reply lacks {missing.what}")
            return await self._send(Demand(self._toolbox).repeated(request), attempt)
        return reply.replace(chunks=_from(held, reply.chunks)) if reply.chunks else reply


def is_expressible(request: MessagesRequest) -> bool:
    """Whether the Messages API can express the client's request without loss."""
    original = request.original
    expressible = ("emulate ", "translate ")
    return original is not None and all(note.startswith(expressible) for note in original.notes)


async def _hold(
    reply: Reply, chunks: AsyncIterator[bytes], held: list[bytes], attempt: Attempt
) -> bool:
    """Read until the call arrives, or too much without it; whether the reply is complete."""
    size = 0
    while reply.missing is not None and reply.missing() is not None and size <= MAX_EVENT_BYTES:
        chunk = await next_in_time(chunks, attempt)
        if chunk is None:
            return True
        held.append(chunk)
        size += len(chunk)
    return False


async def _from(held: list[bytes], chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The held chunks, then the rest as it arrives."""
    yield b"".join(held)
    async for chunk in chunks:
        yield chunk
