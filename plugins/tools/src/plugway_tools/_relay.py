"""One connection of a guarding proxy's client: its requests, tunnels, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import h11

from plugway_tools._guard import ProxyLimits
from plugway_tools._heads import Refused, Target, relayed, request_to, response_of, target_of
from plugway_tools._public import NotPublic, public_addresses, resolved
from plugway_tools._text import harmless

_READ: Final = 64 * 1024
_MOST_ADDRESSES: Final = 4
"""Addresses of a target that are tried."""
Allowed = frozenset[tuple[str, int]]


class _Left(Exception):
    """The client closed its connection during a request."""


class _Side:
    """One of two connections, with the state of its HTTP."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        most: int,
    ) -> None:
        self.reader, self.writer = streams
        self.http = h11.Connection(role, max_incomplete_event_size=most)
        self.clock: asyncio.Timeout | None = None
        """Set forward by every byte."""
        self.idle = 0.0

    async def event(self) -> Any:
        """The next event. Raises `h11.RemoteProtocolError` and OSError."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.read())
        return event

    async def send(self, event: h11.Event) -> None:
        await self.write(self.http.send(event) or b"")

    async def read(self) -> bytes:
        data = await self.reader.read(_READ)
        self._moved()
        return data

    async def write(self, data: bytes) -> None:
        if data:
            self.writer.write(data)
            await self.writer.drain()
            self._moved()

    def close_writing(self) -> None:
        if not self.writer.is_closing() and self.writer.can_write_eof():
            self.writer.write_eof()

    def _moved(self) -> None:
        if self.clock is not None and not self.clock.expired():
            self.clock.reschedule(asyncio.get_running_loop().time() + self.idle)


async def serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    allowed: Allowed,
    limits: ProxyLimits,
    full: bool,
) -> None:
    """Serve a client until it or its limits end the connection; `full` only refuses it."""
    client = _Side(h11.SERVER, (reader, writer), limits.head_bytes)
    relay = _Relay(client, allowed, limits)
    try:
        with suppress(TimeoutError, OSError, h11.ProtocolError, _Left):
            busy = Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections")
            if not await (relay.refuse(busy) if full else relay.serve()):
                return
            async with asyncio.timeout(limits.head_seconds):
                await _close(client)
    finally:
        writer.transport.abort()


async def _close(client: _Side) -> None:
    """Close after the last response; what still arrives is read, so that it is not reset."""
    client.close_writing()
    while await client.reader.read(_READ):
        pass
    client.writer.close()
    await client.writer.wait_closed()


class _Relay:
    """A client, and the server that its current request goes to."""

    def __init__(self, client: _Side, allowed: Allowed, limits: ProxyLimits) -> None:
        self._client = client
        self._allowed = allowed
        self._limits = limits
        self._is_head = False

    async def serve(self) -> bool:
        """Answer requests as long as the connection can be used; False if the last response could
        not be completed."""
        client = self._client
        try:
            while (request := await self._head()) is not None:
                await self._answer(request)
                if client.http.our_state is not h11.DONE or client.http.their_state is not h11.DONE:
                    break
                client.http.start_next_cycle()
        except Refused as refused:
            return await self.refuse(refused)
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint or HTTPStatus.BAD_REQUEST)
            return await self.refuse(Refused(status, f"The request is not valid HTTP: {error}"))
        return True

    async def refuse(self, refused: Refused) -> bool:
        """Send the reason as a page; False if a response has begun already."""
        if self._client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return False
        text = f"{harmless(str(refused), 2_000)}.\n".encode()
        lines = [
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", b"%d" % len(text)),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Connection", b"close"),
        ]
        async with asyncio.timeout(self._limits.head_seconds):
            await self._client.send(response_of(refused.status, lines))
            if not self._is_head:
                await self._client.send(h11.Data(data=text))
            await self._client.send(h11.EndOfMessage())
        return True

    async def _head(self) -> h11.Request | None:
        """The head of the next request; None when the client has none."""
        if self._client.http.trailing_data[0] == b"":
            async with asyncio.timeout(self._limits.idle_seconds):
                self._client.http.receive_data(await self._client.read())
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                event = await self._client.event()
        except TimeoutError:
            reason = "The head of the request did not arrive in time"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, reason) from None
        return event if isinstance(event, h11.Request) else None

    async def _answer(self, request: h11.Request) -> None:
        self._is_head = request.method == b"HEAD"
        target = target_of(request)
        streams = await self._connect(target.host, target.port)
        server = _Side(h11.CLIENT, streams, self._limits.head_bytes)
        try:
            async with asyncio.timeout(self._limits.idle_seconds) as clock:
                for side in (self._client, server):
                    side.clock, side.idle = clock, self._limits.idle_seconds
                if request.method == b"CONNECT":
                    await self._client.send(response_of(HTTPStatus.OK, []))
                    await self._tunnel(server)
                elif await self._exchange(request, target, server):
                    await self._tunnel(server)
        except TimeoutError:
            raise Refused(
                HTTPStatus.GATEWAY_TIMEOUT, f"{target.host} sent nothing in time"
            ) from None
        finally:
            self._client.clock = None
            streams[1].transport.abort()

    async def _connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address of the target that was checked."""
        place = f"{host}:{port}" if ":" not in host else f"[{host}]:{port}"
        limit = self._limits.connect_seconds
        try:
            async with asyncio.timeout(limit):
                addresses = (await self._addresses(host, port))[:_MOST_ADDRESSES]
                for address in addresses[:-1]:
                    with suppress(TimeoutError, OSError):
                        async with asyncio.timeout(limit / len(addresses)):
                            return await asyncio.open_connection(address, port)
                return await asyncio.open_connection(addresses[-1], port)
        except NotPublic as error:
            advice = f"list `{place}` among the addresses that this browser may reach to allow it"
            raise Refused(HTTPStatus.FORBIDDEN, f"Refused: {error}; {advice}") from None
        except TimeoutError:
            reason = f"Cannot connect to {place} within {limit:g} s"
            raise Refused(HTTPStatus.GATEWAY_TIMEOUT, reason) from None
        except (OSError, UnicodeError) as error:
            reason = f"Cannot connect to {place}: {error}"
            raise Refused(HTTPStatus.BAD_GATEWAY, reason) from None

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        if (host.rstrip("."), port) not in self._allowed:
            return await public_addresses(host, port)
        return await resolved(host, port)

    async def _exchange(self, request: h11.Request, target: Target, server: _Side) -> bool:
        """Relay a request and its response; True if they agreed on another protocol."""
        try:
            await server.send(request_to(request, target))
            return await _until(self._download(server, target), self._upload(server))
        except h11.RemoteProtocolError as error:
            reason = f"{target.host} sent an invalid response: {error}"
        except OSError as error:
            reason = f"The connection to {target.host} was lost: {error}"
        raise Refused(HTTPStatus.BAD_GATEWAY, reason)

    async def _upload(self, server: _Side) -> None:
        """Relay the body of a request, then wait for the client to leave: raises `_Left`."""
        client = self._client
        try:
            while not isinstance(event := await client.event(), h11.EndOfMessage):
                with suppress(OSError):  # a server may respond before it has read everything
                    await server.send(h11.Data(data=event.data))
        except (h11.RemoteProtocolError, OSError):
            raise _Left from None
        with suppress(OSError):
            await server.send(h11.EndOfMessage())
        data = await client.read()
        client.http.receive_data(data)
        if not data:
            raise _Left

    async def _download(self, server: _Side, target: Target) -> bool:
        """Relay the response; True if the server switches to another protocol."""
        client = self._client
        while True:
            event = await server.event()
            if isinstance(event, h11.Data):
                await client.send(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                await client.send(h11.EndOfMessage())
                return False
            elif not isinstance(event, (h11.InformationalResponse, h11.Response)):
                raise h11.RemoteProtocolError("no response")
            elif event.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
                reason = f"{target.host} asks for a proxy's password, but is not a proxy"
                raise Refused(HTTPStatus.BAD_GATEWAY, reason)
            else:
                await client.send(relayed(event))
                if event.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                    return True

    async def _tunnel(self, server: _Side) -> None:
        """Relay bytes both ways until both sides have closed theirs, or one is lost."""
        client = self._client
        early, late = client.http.trailing_data[0], server.http.trailing_data[0]
        with suppress(OSError):
            await _both(_pump(early, client, server), _pump(late, server, client))


async def _pump(data: bytes, source: _Side, sink: _Side) -> None:
    await sink.write(data)
    while data := await source.read():
        await sink.write(data)
    sink.close_writing()


async def _until(main: Coroutine[Any, Any, bool], beside: Coroutine[Any, Any, None]) -> bool:
    """The result of `main`; `beside` runs next to it, and its exception ends both."""
    first, second = asyncio.ensure_future(main), asyncio.ensure_future(beside)
    try:
        await asyncio.wait((first, second), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            second.result()
        return await first
    finally:
        await _end(first, second)


async def _both(*works: Coroutine[Any, Any, None]) -> None:
    """Run all; the first exception ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(*tasks)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
