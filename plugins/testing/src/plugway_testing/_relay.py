"""A relay between two ends that misbehaves on demand. It forwards bytes and knows no HTTP."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, TypeAlias

_PIECE: Final = 64 * 1024
_QUEUED: Final = 64
_END: Final = b""
Item: TypeAlias = tuple[float, bytes]
"""When to pass it on, by the loop's clock, and what; no bytes are the end."""


@dataclass(slots=True)
class Faults:
    """What goes wrong in one direction. Every field may be set while the relay runs."""

    latency: float = 0.0
    """Seconds that every byte takes longer. Nothing is reordered."""
    jitter: float = 0.0
    """Up to that many seconds more, at random from a fixed seed."""
    bandwidth: float | None = None
    """Bytes per second; None is no limit."""
    slicer: int | None = None
    """Pass on in pieces of that many bytes, each sent by itself."""
    limit_data: int | None = None
    """Close both ends once that many bytes of a connection have passed in this direction."""
    timeout: float | None = None
    """Swallow everything, and close that many seconds after the first byte; 0 is never."""
    slow_close: float = 0.0
    """Seconds that the end of this direction is held back."""


@dataclass(eq=False, slots=True)
class _Pair:
    client: asyncio.StreamWriter
    target: asyncio.StreamWriter | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def reset(self) -> None:
        for writer in (self.client, self.target):
            if writer is not None:
                _reset(writer)

    def close(self) -> None:
        for writer in (self.client, self.target):
            if writer is not None:
                writer.close()


class FaultRelay:
    """A TCP relay on 127.0.0.1 in front of a target, with faults in each direction.

    `to_client` and `to_target` hold the faults of the two directions. `reset_peer` resets all
    connections now; `down` also refuses new ones, until `up`. A reset of one end is passed on
    as a reset, an end of one direction as the end of that direction.

    >>> async with FaultRelay("127.0.0.1", upstream.port) as relay:
    ...     relay.to_client.slicer = 1
    ...     relay.to_client.latency = 0.05
    ...     await client_of(relay.url)
    """

    def __init__(self, target_host: str, target_port: int, *, seed: int = 0) -> None:
        self.target = (target_host, target_port)
        self.to_client = Faults()
        self.to_target = Faults()
        self.port = 0
        self.connections = 0
        """Connections that were ever accepted."""
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Root of the target as seen through the relay."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._pairs)

    async def __aenter__(self) -> FaultRelay:
        """Listen on a free port of 127.0.0.1."""
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything and wait for it."""
        await self.down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def up(self) -> None:
        """Accept connections, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Reset all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset_peer()
        await asyncio.sleep(0)

    def reset_peer(self) -> None:
        """Reset (RST) both ends of every open connection."""
        for pair in list(self._pairs):
            pair.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function: the task of a coroutine here could not be waited for.
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            try:
                other, pair.target = await asyncio.open_connection(*self.target)
            except OSError:
                pair.reset()
                return
            async with asyncio.TaskGroup() as group:
                for source, sink, faults in (
                    (reader, pair.target, self.to_target),
                    (other, pair.client, self.to_client),
                ):
                    queue: asyncio.Queue[Item] = asyncio.Queue(_QUEUED)
                    group.create_task(self._take(source, queue, faults, pair))
                    group.create_task(self._give(queue, sink, faults, pair))
        except* OSError:
            pair.reset()
        finally:
            pair.close()
            self._pairs.discard(pair)

    async def _take(
        self,
        source: asyncio.StreamReader,
        queue: asyncio.Queue[Item],
        faults: Faults,
        pair: _Pair,
    ) -> None:
        """Read one direction and note when each piece is due at the other end."""
        loop = asyncio.get_running_loop()
        due, doomed = 0.0, False
        while True:
            data = await source.read(_PIECE)
            if faults.timeout is not None and data:
                if faults.timeout and not doomed:
                    loop.call_later(faults.timeout, pair.close)
                    doomed = True
                continue
            late = faults.latency + self._random.uniform(0, faults.jitter)
            due = max(due, loop.time() + late)
            await queue.put((due, data))
            if data == _END:
                return

    async def _give(
        self,
        queue: asyncio.Queue[Item],
        sink: asyncio.StreamWriter,
        faults: Faults,
        pair: _Pair,
    ) -> None:
        """Write one direction when it is due, as slowly and in as small pieces as told."""
        loop = asyncio.get_running_loop()
        passed = 0
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if data == _END:
                await asyncio.sleep(faults.slow_close)
                with suppress(OSError, RuntimeError):
                    sink.write_eof()
                return
            for piece in _pieces(data, faults):
                allowed = piece
                if faults.limit_data is not None:
                    allowed = piece[: max(0, faults.limit_data - passed)]
                passed += len(allowed)
                sink.write(allowed)
                await sink.drain()
                if faults.limit_data is not None and passed >= faults.limit_data:
                    pair.close()
                    return
                # At least one turn of the loop, or the kernel would join the pieces again.
                await asyncio.sleep(len(allowed) / faults.bandwidth if faults.bandwidth else 0)


def _pieces(data: bytes, faults: Faults) -> list[bytes]:
    size = faults.slicer or len(data)
    if faults.bandwidth:
        size = max(1, min(size, int(faults.bandwidth / 20)))
    return [data[start : start + size] for start in range(0, len(data), size)]


def _reset(writer: asyncio.StreamWriter) -> None:
    found: Any = writer.get_extra_info("socket")
    with suppress(OSError):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
