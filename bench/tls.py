"""HTTPS by the gateway itself, compared with plain HTTP over connections that are kept.

`python -m bench.tls` runs two gateways with one backend on loopback, one of them with a
certificate, and loads them in turns. It prints the requests per second of each, the ratio, and the
new connections per second that the second one accepts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import trustme

from bench import bodies
from bench.gateway import CONFIGS
from bench.load import Load
from bench.process import started, until_answered

CONNECTIONS = (1, 16)


@contextlib.asynccontextmanager
async def _gateway(
    folder: Path, port: int, upstream: int, seconds: float, tls: ssl.SSLContext | None
) -> AsyncGenerator[Load]:
    """A gateway on `port`, and the load on it."""
    config, log = folder / f"{port}.yaml", folder / f"{port}.log"
    text = CONFIGS["messages"].format(port=port, upstream=f"http://127.0.0.1:{upstream}")
    if tls is not None:
        files = "tls: {certificate: cert.pem, key: key.pem}"
        text = text.replace("server: {", f"server: {{{files}, ", 1)
    config.write_text(text, encoding="utf-8")
    config.chmod(0o600)
    command = [str(Path(sys.executable).with_name("plugway")), "serve", "--config", str(config)]
    request = bodies.request(bodies.small(bodies.marker(), stream=False), "bench-token", port)
    async with started(command, None, log, BENCH_TOKEN="bench-token") as process:
        await until_answered(process, port, request, log, tls=tls)
        yield Load(
            argparse.Namespace(
                url=f"http://127.0.0.1:{port}",
                token="bench-token",
                seconds=seconds,
                pid=process.pid,
                upstream=None,
                tls=tls,
            )
        )


async def _handshakes(load: Load) -> float:
    """New connections per second, one at a time."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < load.seconds:
        (made,) = await load.connections(1)
        made.transport.abort()
        count += 1
    return count / (time.perf_counter() - start)


async def measure(seconds: float, rounds: int, first_port: int) -> None:
    """Print all figures."""
    upstream, plain, secure = range(first_port, first_port + 3)
    authority, tls = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(tls)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leaf = authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
        command = [sys.executable, "-m", "bench.upstream", "--port", str(upstream)]
        async with (
            started(command, None, folder / "upstream.log"),
            _gateway(folder, plain, upstream, seconds, None) as http,
            _gateway(folder, secure, upstream, seconds, tls) as https,
        ):
            for kind in ("small", "big"):
                for count in CONNECTIONS:
                    rates: tuple[list[float], list[float]] = ([], [])
                    for _ in range(rounds):
                        for load, found in zip((http, https), rates, strict=True):
                            request = load.request(getattr(bodies, kind))
                            found.append((await load.closed_loop(request, count))[0])
                    before, after = map(statistics.median, rates)
                    row = f"{kind} requests/s, {count} at a time"
                    print(f"{row:32} {before:9,.0f} {after:9,.0f}   x {after / before:.2f}")
            print(f"{'handshakes/s, 1 at a time':32} {'':9} {await _handshakes(https):9,.0f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=2.0, help="per measurement")
    options.add_argument("--rounds", type=int, default=5, help="measurements of each figure")
    options.add_argument("--port", type=int, default=9380, help="first of three free ports")
    chosen = options.parse_args()
    asyncio.run(measure(min(chosen.seconds, 30.0), min(chosen.rounds, 50), chosen.port))


if __name__ == "__main__":
    main()
