"""A call that the client demands from a server whose bytes it gets in its own API.

The answer is held back until the call comes. Where it does not come, the model is asked once more,
through the Messages API: that answer is mended like any other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from plugway import MAX_EVENT_BYTES, Attempt, MessagesRequest, Reply, Send
from plugway_tool_repair._forced import Demand
from plugway_tool_repair._tools import Toolbox
from plugway_tool_repair._wire import next_in_time


class Insisting:
    """A `send` that asks once more where a relayed answer lacks the call that the client demands.

    What it lacks in the end is put on the receipt by the kernel (`Reply.missing`).
    """

    def __init__(self, send: Send, toolbox: Toolbox, note: Callable[[str], None]) -> None:
        self._send = send
        self._toolbox = toolbox
        self._note = note

    async def __call__(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The reply, at the call where one is demanded.

        Raises:
            BackendError: the attempt failed.
        """
        reply = await self._send(request, attempt)
        if reply.missing is None or reply.missing() is None or not _can_be_told(request):
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
            self._note(f"retried: the reply lacks {missing.what}")
            return await self._send(Demand(self._toolbox).repeated(request), attempt)
        return reply.replace(chunks=_from(held, reply.chunks)) if reply.chunks else reply


def _can_be_told(request: MessagesRequest) -> bool:
    """Whether the Messages API can say all that the client wrote, if in other words."""
    original = request.original
    told = ("emulate ", "translate ")
    return original is not None and all(note.startswith(told) for note in original.notes)


async def _hold(
    reply: Reply, chunks: AsyncIterator[bytes], held: list[bytes], attempt: Attempt
) -> bool:
    """Read until the call comes, or too much has come without it; whether the answer is over."""
    size = 0
    while reply.missing is not None and reply.missing() is not None and size <= MAX_EVENT_BYTES:
        chunk = await next_in_time(chunks, attempt)
        if chunk is None:
            return True
        held.append(chunk)
        size += len(chunk)
    return False


async def _from(held: list[bytes], chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What was held back, then the rest as it comes."""
    yield b"".join(held)
    async for chunk in chunks:
        yield chunk
