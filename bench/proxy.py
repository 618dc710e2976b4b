"""The gateway behind a proxy: its start, its streams, and client disconnects.

`python -m bench.proxy` runs `plugway serve` with one backend that is reached through a `CONNECT`
proxy, with TLS to the proxy and TLS to the upstream inside it, all on loopback. It prints the
seconds from the start of the process to the first reply, the number of lost events in paced
streams, and the time from a client disconnect until the upstream notices. One more Python process
acts as the proxy and terminates TLS, so the figures are upper bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import trustme

from bench import bodies
from bench.gateway import STACK
from bench.load import Load
from bench.process import started, until_answered

CONFIG = (
    STACK
    + """\
  - use: anthropic-compatible
    name: upstream
    options:
      base_url: "https://upstream.test:{tls_port}"
      models: [bench]
      native_errors: true
      proxy: "https://127.0.0.1:{proxy_port}"
      ca_file: "{ca}"
"""
)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def _joined(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, said: bytes = b""
) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    pumps = [asyncio.create_task(_pump(reader, back)), asyncio.create_task(_pump(there, writer))]
    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    for pump in pumps:
        pump.cancel()
    back.transport.abort()
    writer.transport.abort()


def _tls_to(port: int) -> Serve:
    """A server that terminates the upstream's TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _joined(reader, writer, port)

    return serve


def _proxy_to(port: int) -> Serve:
    """A proxy that connects to this port whatever the host."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"CONNECT upstream.test:"):
            writer.close()
            return
        await _joined(reader, writer, port, b"HTTP/1.1 200 OK\r\n\r\n")

    return serve


@contextlib.asynccontextmanager
async def _served(serve: Serve, port: int, tls: ssl.SSLContext) -> AsyncGenerator[None]:
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    try:
        yield
    finally:
        server.close()


async def measure(seconds: float, first_port: int) -> dict[str, float]:
    """All figures, once."""
    port, plain, tls_port, proxy_port = range(first_port, first_port + 4)
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("upstream.test", "127.0.0.1").configure_cert(tls)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        config = folder / "plugway.yaml"
        text = CONFIG.format(
            port=port, tls_port=tls_port, proxy_port=proxy_port, ca=folder / "ca.pem"
        )
        config.write_text(text, encoding="utf-8")
        upstream = [sys.executable, "-m", "bench.upstream", "--port", str(plain)]
        gateway = [str(Path(sys.executable).with_name("plugway")), "serve", "--config", str(config)]
        request = bodies.request(bodies.small(bodies.marker(), stream=False), "bench-token", port)
        logs = folder / "upstream.log", folder / "gateway.log"
        async with (
            started(upstream, None, logs[0]) as below,
            _served(_tls_to(plain), tls_port, tls),
            _served(_proxy_to(tls_port), proxy_port, tls),
        ):
            await until_answered(below, plain, request, logs[0])
            environment = {"BENCH_TOKEN": "bench-token"}
            async with started(gateway, None, logs[1], **environment) as process:
                figures = {"start_s": await until_answered(process, port, request, logs[1])}
                load = Load(
                    argparse.Namespace(
                        url=f"http://127.0.0.1:{port}",
                        token="bench-token",
                        seconds=seconds,
                        pid=process.pid,
                        upstream=f"http://127.0.0.1:{plain}",
                    )
                )
                for part in (load.first_byte, load.paced, load.aborts):
                    figures |= await part()
    return figures


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    options.add_argument("--port", type=int, default=9280, help="first of four free ports")
    chosen = options.parse_args()
    for name, value in asyncio.run(measure(min(chosen.seconds, 30.0), chosen.port)).items():
        print(f"{name:36} {value:12,.3f}")


if __name__ == "__main__":
    main()
