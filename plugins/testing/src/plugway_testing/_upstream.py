"""An upstream on a real socket that follows a test's script and records all requests.

async with ScriptedUpstream() as upstream:
    upstream.script(sse(anthropic_stream("Hello."), end=Cut()))
    ...                                   # point a backend at upstream.url
    assert upstream.requests[0].json["model"] == "m"
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import anyio

from plugway_testing._answers import (
    Cut,
    Hold,
    Reset,
    Script,
    Sleep,
    WaitFor,
    anthropic_message,
    anthropic_stream,
    respond,
    sse,
)


@dataclass(slots=True)
class ReceivedRequest:
    """One received request."""

    method: str
    path: str
    """Including the query."""
    headers: list[tuple[str, str]]
    """In order, with names as sent."""
    body: bytes
    connection: int
    """Number of its connection, starting at 1."""
    arrived: float
    """`time.monotonic()` when the request was complete."""
    closed_at: float | None = None
    """When the peer disconnected; None if it did not, or if the response was complete."""
    left: anyio.Event = field(default_factory=anyio.Event)
    """Set when the peer disconnects before the response is complete."""

    @property
    def json(self) -> Any:
        """The parsed body."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The last header of that name, case-insensitive, or None."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return found[-1] if found else None


Answer: TypeAlias = Script | Callable[[ReceivedRequest], Script]


def default_answer(request: ReceivedRequest) -> Script:
    """A short Anthropic response, streamed if the request asks for it."""
    body: dict[str, Any] = json.loads(request.body or b"{}")
    model = str(body.get("model", "test-model"))
    if body.get("stream"):
        return sse(anthropic_stream("Hello.", model=model))
    return respond(200, anthropic_message("Hello.", model=model))


class ScriptedUpstream:
    """Answers requests in order of arrival, with scripts in the order given.

    Without remaining scripts, `otherwise` answers: a script, or a function that returns one for a
    request.
    """

    watchers: ClassVar[list[Callable[[ReceivedRequest], None]]] = []
    """Called with every request to any upstream."""

    def __init__(self, *scripts: Answer, otherwise: Answer = default_answer) -> None:
        self._scripts = list(scripts)
        self._otherwise = otherwise
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0
        self._arrival = anyio.Event()
        self.port = 0
        self.requests: list[ReceivedRequest] = []
        """All complete requests, in order of arrival."""
        self.open = 0
        """Number of open connections."""

    @property
    def url(self) -> str:
        """Root URL of the upstream."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Number of connections so far."""
        return self._connections

    def script(self, *scripts: Answer) -> None:
        """Add scripts for the next requests."""
        self._scripts.extend(scripts)

    async def wait_for_request(self, count: int = 1, *, seconds: float = 5) -> ReceivedRequest:
        """Wait for the request with this number, starting at 1, and return it."""
        with anyio.fail_after(seconds):
            while len(self.requests) < count:
                await self._arrival.wait()
        return self.requests[count - 1]

    async def __aenter__(self) -> ScriptedUpstream:
        """Listen on a free port of 127.0.0.1."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        number = self._connections
        self.open += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # Each step's data is sent before the next step begins, also before a reset.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            taken: bytes | None = b""
            while taken is not None:
                request = await _read_request(reader, number, taken)
                if request is None:
                    break
                self.requests.append(request)
                for watch in self.watchers:
                    watch(request)
                self._arrival.set()
                self._arrival = anyio.Event()
                taken = await self._answer(request, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._tasks.discard(task)
            writer.close()

    def _script_for(self, request: ReceivedRequest) -> Script:
        answer = self._scripts.pop(0) if self._scripts else self._otherwise
        return answer(request) if callable(answer) else answer

    async def _answer(
        self,
        request: ReceivedRequest,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bytes | None:
        """Play the script while watching the peer.

        Returns None if the connection ends, otherwise the bytes read of the next request.
        """
        script = self._script_for(request)
        play = asyncio.ensure_future(_play(script, writer))
        watch = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({play, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and not watch.exception() and watch.result():
                await asyncio.wait({play})  # the peer has already sent its next request
            if not play.done() or play.exception():
                request.closed_at = time.monotonic()
                request.left.set()
                return None
            if not play.result() or reader.at_eof():
                return None
            return watch.result() if watch.done() else b""
        finally:
            for pending in (play, watch):
                pending.cancel()
            await asyncio.gather(play, watch, return_exceptions=True)


async def _read_request(
    reader: asyncio.StreamReader, number: int, taken: bytes
) -> ReceivedRequest | None:
    try:
        head = taken + await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _version = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    known = {name.lower(): value for name, value in headers}
    if known.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(known.get("content-length", 0)))
    return ReceivedRequest(method, path, headers, body, number, time.monotonic())


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


async def _play(script: Script, writer: asyncio.StreamWriter) -> bool:
    """Play a script; return whether the connection can be reused."""
    sent = b""
    for step in script:
        match step:
            case bytes():
                sent += step[: 4096 - len(sent)] if len(sent) < 4096 else b""
                writer.write(step)
                await writer.drain()
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case WaitFor(found):
                await found.wait()
            case Hold():
                await asyncio.Event().wait()
            case Reset():
                _reset(writer)
                return False
            case Cut():
                return False
    head = sent.partition(b"\r\n\r\n")[0].lower()
    return b"connection: close" not in head and (
        b"content-length:" in head or b"transfer-encoding:" in head
    )


def _reset(writer: asyncio.StreamWriter) -> None:
    found: Any = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
