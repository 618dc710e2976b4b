"""A TCP relay with configurable faults. It forwards bytes and does not parse HTTP."""

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
"""When to forward, by the loop's clock, and the data; empty data ends the direction."""


@dataclass(slots=True)
class Faults:
    """The faults of one direction. Fields may be changed while the relay runs."""

    latency: float = 0.0
    """Delay of every byte in seconds. Nothing is reordered."""
    jitter: float = 0.0
    """Maximum additional delay in seconds, random with a fixed seed."""
    bandwidth: float | None = None
    """Bytes per second; None for no limit."""
    slicer: int | None = None
    """Forward in pieces of this many bytes, each sent separately."""
    limit_data: int | None = None
    """Close both ends after this many bytes of a connection in this direction."""
    timeout: float | None = None
    """Discard all data, and close this many seconds after the first byte; 0 for never."""
    slow_close: float = 0.0
    """Delay of the end of this direction in seconds."""


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
    connections; `down` also refuses new ones, until `up`. A reset is forwarded as a reset, the end
    of one direction as the end of that direction.

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
        """Number of connections accepted so far."""
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The target's root URL through the relay."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        """Number of open connections."""
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
        """Close everything and wait for the tasks."""
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
        # Not a coroutine: its task could not be awaited.
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
        """Read one direction and schedule each piece."""
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
        """Write one direction on schedule, in pieces and at the rate of `faults`."""
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
                # Yield to the loop at least once, or the kernel would rejoin the pieces.
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
