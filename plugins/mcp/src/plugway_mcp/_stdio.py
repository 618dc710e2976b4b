"""Our own transport to a server that is a child process; the session over it is the SDK's.

The SDK's transport (`mcp.client.stdio` 2.3.0) keeps a line without end in memory, logs a traceback
for lines that are not messages, passes on each notification (a task for each), keeps no stderr,
and knows no descendants outside of the server's group. Here a message has a size limit, other lines
are dropped, requests of the server are bounded, and what it printed explains its end.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
)

from plugway_mcp._lines import Lines, LongLine, Tail
from plugway_mcp._messages import CHANGED, MAX_ASKED, is_json, read
from plugway_mcp._process import Child, Command, start

MAX_MESSAGE: Final = 16 * 2**20
"""Longest message of a server in bytes. A longer result is reported as an error of its call."""
MAX_LINE: Final = 64 * 2**20
"""A server whose line is still longer is ended."""
_LINGER_SECONDS: Final = 0.2


class Pipes:
    """The state of one transport."""

    def __init__(self, tail: Tail, on_changed: Callable[[], None]) -> None:
        self.tail = tail
        self.broken = ""
        """Why the server has to be ended; empty if it behaves."""
        self.pending: set[int | str] = set()
        """Ids of our requests that it has not answered."""
        self.ended = anyio.Event()
        """Set when nothing more will come from it."""
        self.gone = False
        """Whether it takes no further requests; its last output may still come."""
        self._on_changed = on_changed
        self._asked = 0
        self._lines = Lines(MAX_MESSAGE)
        self._send: MemoryObjectSendStream[SessionMessage | Exception] | None = None

    def open(self) -> MemoryObjectReceiveStream[SessionMessage | Exception]:
        """The stream of messages for the session. What waits in it is bounded: answers to our
        requests, and `MAX_ASKED` requests."""
        self._send, received = anyio.create_memory_object_stream[SessionMessage | Exception](
            math.inf
        )
        return received

    def output(self, fd: int, data: bytes) -> None:
        """Take what the server printed."""
        if fd == 2:
            self.tail.feed(data)
            return
        if self.ended.is_set():
            return
        for line in self._lines.feed(data):
            self._line(line)
        if self._lines.size > MAX_LINE:
            self.fail(f"it sent a line of more than {MAX_LINE >> 20} MiB")

    def _line(self, line: bytes | LongLine) -> None:
        if isinstance(line, LongLine):
            if line.id is None:
                self.tail.add(b"stdout: " + line.head)
                return
            text = f"the result has {line.size:,} bytes; at most {MAX_MESSAGE:,} are accepted"
            self._unusable(line.id, text)
            return
        if not line.strip():
            return
        message = read(line)
        if message is not None:
            self._message(message)
            return
        self.tail.add(b"stdout: " + line[:400])
        id_ = LongLine.of(line).id
        if id_ is not None and not is_json(line):
            self._unusable(id_, "the result is not valid JSON")

    def _unusable(self, id_: int, text: str) -> None:
        error = ErrorData(code=INTERNAL_ERROR, message=text)
        self._message(JSONRPCError(jsonrpc="2.0", id=id_, error=error))

    def _message(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCNotification):
            if message.method == CHANGED:
                self._on_changed()
            return
        if isinstance(message, JSONRPCRequest):
            self._asked += 1
            if self._asked > MAX_ASKED:
                self.fail("it sends requests without reading the answers")
                return
        else:
            if message.id is None or message.id not in self.pending:
                return
            self.pending.discard(message.id)
        if self._send is not None:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._send.send_nowait(SessionMessage(message))

    def fail(self, reason: str) -> None:
        """Give the server up."""
        self.broken = self.broken or reason
        self.close()

    def close(self) -> None:
        """Nothing more comes: open requests fail."""
        self.ended.set()
        if self._send is not None:
            self._send.close()

    async def write(
        self, child: Child, messages: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        """Send messages of the session to the server."""
        async for item in messages:
            message = item.message
            if isinstance(message, JSONRPCRequest):
                self.pending.add(message.id)
            elif not isinstance(message, JSONRPCNotification):
                self._asked -= 1
            raw = message.model_dump_json(by_alias=True, exclude_unset=True)
            await child.write(raw.encode("utf-8", "backslashreplace") + b"\n")


Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@asynccontextmanager
async def stdio(command: Command, pipes: Pipes) -> AsyncGenerator[Streams]:
    """Run a server; at the end it and all that it started are gone. Raises `CannotStart`."""
    child = await start(command, pipes.output)
    try:
        received = pipes.open()
        send, receive = anyio.create_memory_object_stream[SessionMessage](0)
        async with send, receive, received, anyio.create_task_group() as group:
            group.start_soon(pipes.write, child, receive)
            group.start_soon(_watch, child, pipes)
            yield received, send
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            pipes.close()
            if child.exited.is_set() and not pipes.broken:
                pipes.broken = _ending(child.returncode)
            await child.end()


async def _watch(child: Child, pipes: Pipes) -> None:
    """Note its end. Output that it wrote before is read first, but not what its children write."""
    await first_of(child.silent, child.exited, child.deaf)
    pipes.gone = True
    with anyio.move_on_after(_LINGER_SECONDS):
        await child.silent.wait()
    with anyio.move_on_after(_LINGER_SECONDS):  # its status follows its last output
        await child.exited.wait()
    if child.exited.is_set():
        pipes.fail(_ending(child.returncode))
    else:
        pipes.fail(f"it closed its {'input' if child.deaf.is_set() else 'output'}")


async def first_of(*events: anyio.Event) -> None:
    """Wait for one of them."""
    async with anyio.create_task_group() as group:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        for event in events:
            group.start_soon(wait, event)


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"it was ended by signal {-status}"
    return f"it ended with status {status}"
