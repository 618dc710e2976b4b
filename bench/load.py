"""Measure one address under load: `python -m bench.load --url http://127.0.0.1:8484 ...`.

The address is the gateway's, nginx's, or the bench upstream itself. Figures are printed as a table
and, with `--json`, written to a file. `--upstream` (address of the bench upstream) is needed for
the abort figures, `--pid` for those about CPU and memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from bench import bodies
from bench.process import cpu_seconds, pin, rss_megabytes
from bench.upstream import run

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
DELTA = b"event: content_block_delta"
LIMIT = 60.0
"""Time limit in seconds for a reply."""

Figures: TypeAlias = dict[str, float]


class Connection(asyncio.Protocol):
    """A kept connection: `send` sends a request, `done` is called at the end of its reply.

    Each connection has its own session, as agents have: a gateway may join equal requests of one
    session.
    """

    made = 0

    def __init__(self) -> None:
        Connection.made += 1
        self.session = b"00000000-0000-4000-8000-%012d" % Connection.made
        self.asked: tuple[bytes, bytes] = (b"", b"")
        self.done: Callable[[Connection], None] = lambda _: None
        self.head: bytes | None = b""
        self.missing = -1  # bytes of a body with a length; -1 is a chunked one
        self.tail = b""
        self.deltas = 0
        self.kept: bytearray | None = None  # the body, if it is wanted
        self.sent = self.began = 0.0
        self.failed: str | None = None
        self.started = asyncio.Event()
        self.finished = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sent and not self.finished.is_set():
            self._fail(f"the connection was closed within a reply ({exc})")

    def send(self, request: bytes) -> None:
        """Start the next exchange."""
        self.head, self.tail, self.began = b"", b"", 0.0
        self.started.clear()
        self.finished.clear()
        if self.asked[0] is not request:
            self.asked = (request, request.replace(bodies.SESSION, self.session))
        self.sent = time.perf_counter()
        self.transport.write(self.asked[1])

    def data_received(self, data: bytes) -> None:
        if self.head is not None:
            found = self._begin(data)
            if found is None:
                return
            data = found
        if data and not self.began:
            self.began = time.perf_counter()
            self.started.set()
        if self.kept is not None:
            self.kept += data
        if self.missing >= 0:
            self.missing -= len(data)
            if self.missing <= 0:
                self._end()
            return
        self.deltas += data.count(DELTA)
        self.tail = (self.tail + data)[-5:]
        if self.tail == b"0\r\n\r\n":
            self._end()

    def _begin(self, data: bytes) -> bytes | None:
        assert self.head is not None
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return None
        head, rest = self.head[:end], self.head[end + 4 :]
        self.head = None
        if head[9:12] != b"200":
            self._fail(f"not a 200: {(head + rest)[:800]!r}")
            return None
        length = LENGTH.search(head)
        self.missing = int(length[1]) if length else -1
        return rest

    def _fail(self, problem: str) -> None:
        self.failed = problem
        self.finished.set()
        self.transport.abort()

    def _end(self) -> None:
        self.finished.set()
        self.done(self)

    async def wait(self, seconds: float = LIMIT) -> None:
        """Wait for the end of the reply; exits if it failed."""
        try:
            await asyncio.wait_for(self.finished.wait(), seconds)
        except TimeoutError:
            sys.exit(f"no complete reply within {seconds:g} s")
        if self.failed:
            sys.exit(self.failed)


class Load:
    """All measurements on one target."""

    def __init__(self, options: argparse.Namespace) -> None:
        parts = urlsplit(options.url)
        self.port = parts.port or 80
        self.token: str = options.token
        self.seconds: float = options.seconds
        self.pid: int | None = options.pid
        self.upstream = urlsplit(options.upstream).port if options.upstream else None
        self.tls: ssl.SSLContext | None = getattr(options, "tls", None)
        self.identity = int(time.time()) % 1_000_000 * 1000

    def request(self, body: Callable[..., bytes], **orders: int) -> bytes:
        """The bytes of a request; it asks for a stream if events are ordered."""
        content = body(bodies.marker(**orders), stream=bool(orders))
        return bodies.request(content, self.token, self.port)

    async def connections(self, count: int, port: int | None = None) -> list[Connection]:
        """New connections to the target."""
        loop = asyncio.get_running_loop()
        made: list[Connection] = []
        for _ in range(count):
            tls = None if port else self.tls
            _, found = await loop.create_connection(
                Connection, "127.0.0.1", port or self.port, ssl=tls
            )
            made.append(found)
        return made

    async def closed_loop(self, request: bytes, count: int) -> tuple[float, list[float]]:
        """Replies per second, and the time of each, with `count` connections kept busy."""
        made = await self.connections(count)
        for connection in made:  # warm
            for _ in range(max(2, 32 // count)):
                connection.send(request)
                await connection.wait()
        times: list[float] = []
        start = time.perf_counter()
        end = start + self.seconds

        def again(connection: Connection) -> None:
            now = time.perf_counter()
            times.append(now - connection.sent)
            if now < end:
                connection.send(request)

        for connection in made:
            connection.done = again
            connection.send(request)
        for connection in made:
            while True:
                await connection.wait(self.seconds + LIMIT)
                if time.perf_counter() >= end and connection.finished.is_set():
                    break
                await asyncio.sleep(0.01)
        took = time.perf_counter() - start
        for connection in made:
            connection.transport.abort()
        return len(times) / took, times

    async def requests(self) -> Figures:
        """Not streamed: replies per second and their times."""
        figures: Figures = {}
        for name, body in (("small", bodies.small), ("big", bodies.big)):
            for count in (1, 16):
                cpu = cpu_seconds(self.pid) if self.pid else 0.0
                rate, times = await self.closed_loop(self.request(body), count)
                figures[f"{name}_{count}_rps"] = rate
                figures |= _quantiles(f"{name}_{count}", times)
                if self.pid and count == 16:
                    spent = cpu_seconds(self.pid) - cpu
                    figures[f"{name}_{count}_cpu_us"] = spent / len(times) * 1e6
        return figures

    async def first_byte(self) -> Figures:
        """Streamed: time to the first byte of the body, one request at a time."""
        figures: Figures = {}
        for name, body in (("small", bodies.small), ("big", bodies.big)):
            request = self.request(body, e=20)
            (connection,) = await self.connections(1)
            times: list[float] = []
            end = time.perf_counter() + self.seconds
            while len(times) < 520 and time.perf_counter() < end:
                connection.send(request)
                await connection.wait()
                times.append(connection.began - connection.sent)
            connection.transport.abort()
            figures |= _quantiles(f"{name}_first_byte", times[20:])
        return figures

    async def streams(self) -> Figures:
        """Complete streams of 20 events per second, 16 at once."""
        rate, _ = await self.closed_loop(self.request(bodies.small, e=20), 16)
        return {"streams_16_per_s": rate}

    async def paced(self) -> Figures:
        """32 streams of 100 events per second: CPU per event, and the number of lost events."""
        count, rate = 32, 100
        events = int((self.seconds + 2) * rate)
        made = await self.connections(count)
        request = self.request(bodies.small, e=events, r=rate)
        for connection in made:
            connection.send(request)
        await asyncio.sleep(1)
        before, cpu = sum(c.deltas for c in made), cpu_seconds(self.pid) if self.pid else 0.0
        await asyncio.sleep(self.seconds)
        after, cpu_after = sum(c.deltas for c in made), cpu_seconds(self.pid) if self.pid else 0.0
        for connection in made:
            await connection.wait()
            connection.transport.abort()
        figures = {"paced_events_lost": float(count * events - sum(c.deltas for c in made))}
        if self.pid:
            figures["paced_cpu_us_per_event"] = (cpu_after - cpu) / (after - before) * 1e6
        return figures

    async def flat_out(self) -> Figures:
        """One stream at full speed: many events per chunk, and one event per chunk."""
        figures: Figures = {}
        for name, joined in (("flat_events_per_s", 1), ("flat_single_chunks_per_s", 0)):
            events = 128 * int(600 * self.seconds)
            (connection,) = await self.connections(1)
            connection.send(self.request(bodies.small, e=events, b=128, c=joined))
            await connection.wait()
            took = time.perf_counter() - connection.began
            connection.transport.abort()
            figures[name] = events / took
            if abs(connection.deltas - events) > events * 0.01:  # one may be cut between two reads
                sys.exit(f"{events} events were sent and {connection.deltas} arrived")
        return figures

    async def dense(self) -> Figures:
        """One stream at full speed, closed after the time: events per second, and their CPU."""
        (connection,) = await self.connections(1)
        connection.send(self.request(bodies.small, e=10**9, b=16))
        await asyncio.wait_for(connection.started.wait(), LIMIT)
        start, before = time.perf_counter(), connection.deltas
        cpu = cpu_seconds(self.pid) if self.pid else 0.0
        await asyncio.sleep(self.seconds)
        took, events = time.perf_counter() - start, connection.deltas - before
        spent = cpu_seconds(self.pid) - cpu if self.pid else 0.0
        if connection.finished.is_set() or not events:
            sys.exit(f"the stream ended early ({connection.failed or 'without an error'})")
        connection.finished.set()  # its end is not a failure
        connection.transport.abort()
        figures = {"dense_events_per_s": events / took}
        return figures | ({"dense_cpu_us_per_event": spent / events * 1e6} if self.pid else {})

    async def aborts(self) -> Figures:
        """Time from a client disconnect until the upstream notices, in both phases."""
        if self.upstream is None:
            return {}
        control = (await self.connections(1, self.upstream))[0]
        figures: Figures = {}
        for name, orders in (("before", {"s": 1}), ("after", {"e": 2000, "r": 100})):
            times = [await self._abort(control, orders) for _ in range(30)]
            seen = [value for value in times if value is not None]
            figures[f"abort_{name}_first_byte_noticed"] = len(seen) / len(times)
            if seen:
                figures |= _quantiles(f"abort_{name}_first_byte", seen)
        control.transport.abort()
        return figures

    async def _abort(self, control: Connection, orders: dict[str, int]) -> float | None:
        self.identity += 1
        (connection,) = await self.connections(1)
        connection.send(self.request(bodies.small, i=self.identity, **orders))
        arrived = await self._state(control, "arrived")
        if arrived is None:
            sys.exit("a request did not arrive upstream")
        if "r" in orders:
            await asyncio.wait_for(connection.started.wait(), LIMIT)
        start = time.monotonic()
        connection.finished.set()  # its end is not a failure
        connection.transport.abort()
        left = await self._state(control, "left")
        return left - start if left is not None else None

    async def _state(self, control: Connection, what: str) -> float | None:
        """Poll the upstream until it has seen the event, for up to two seconds."""
        end = time.perf_counter() + 2
        while time.perf_counter() < end:
            control.kept = bytearray()
            control.send(b"GET /bench/state?i=%d HTTP/1.1\r\n\r\n" % self.identity)
            await control.wait()
            state = json.loads(control.kept)
            if what in state:
                return float(state[what])
            await asyncio.sleep(0.002)
        return None

    async def memory(self) -> Figures:
        """Resident memory after all measurements."""
        return {"rss_after_mb": rss_megabytes(self.pid)} if self.pid else {}


def _quantiles(name: str, seconds: Iterable[float]) -> Figures:
    ordered = sorted(seconds)
    return {
        f"{name}_p50_ms": statistics.median(ordered) * 1e3,
        f"{name}_p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3,
    }


PARTS: tuple[str, ...] = (
    "requests", "first_byte", "streams", "paced", "flat_out", "dense", "aborts", "memory",
)  # fmt: skip


async def measure(options: argparse.Namespace) -> Figures:
    """Run the chosen parts one after the other."""
    load = Load(options)
    figures: Figures = {}
    for part in options.only or PARTS:
        method: Callable[[], Awaitable[Figures]] = getattr(load, part)
        found = await method()
        figures |= found
        for name, value in found.items():
            print(f"{name:36} {value:12,.3f}", flush=True)
    return figures


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--url", default="http://127.0.0.1:8484")
    found.add_argument("--token", default="bench-token")
    found.add_argument("--upstream", help="address of the bench upstream, for the abort figures")
    found.add_argument("--pid", type=int, help="process under test, including its children")
    found.add_argument("--seconds", type=float, default=2.0, help="per measurement, up to 30")
    found.add_argument("--only", nargs="*", choices=PARTS)
    found.add_argument("--json", help="write the figures to this file")
    found.add_argument("--core", type=int, help="run on this core")
    return found


def main() -> None:
    options = parser().parse_args()
    options.seconds = min(options.seconds, 30.0)
    pin(options.core)
    figures = run(measure(options))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
