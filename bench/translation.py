"""What a translation costs: a big request into another API, and a stream at an agent's pace.

    python -m bench.translation             about fifteen seconds
    python -m bench.translation --json

A request is timed as CPU of parsing, translating and writing, best of many. The stream runs through
`plugway serve` with a backend for Chat Completions: 100 chunks a second, and the CPU that the
gateway's process took, less what it takes idle. Goals: under 2 ms a request, under 3 % of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from bench import bodies
from bench.process import cpu_seconds, default_cores, started, until_answered
from plugway_openai_wire import chat, responses
from plugway_openai_wire.testing import chunk, data
from plugway_translation import Reasoning

TOKEN = "bench-token-of-32-characters-0000"
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, token: {{$env: BENCH_TOKEN}}}}
plugins:
  - use: openai-compatible
    name: upstream
    options: {{base_url: "http://127.0.0.1:{upstream}/v1", learn: false}}
"""
PACE, SECONDS = 100, 4
REQUEST_GOAL_MS, STREAM_GOAL_PERCENT = 2.0, 3.0


def request_milliseconds(translate: Callable[[dict[str, object]], object], rounds: int) -> float:
    """CPU of one big request from bytes to bytes, the best of some."""
    raw = bodies.big("x", stream=True)
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        orjson.dumps(translate(orjson.loads(raw)))
        best = min(best, time.process_time() - began)
    return best * 1000


def to_chat(body: dict[str, object]) -> object:
    return chat.request_of(body, chat.Target(Reasoning("bench", "m"))).body


def to_responses(body: dict[str, object]) -> object:
    return responses.request_of(body, responses.Target(Reasoning("bench", "m"))).body


async def paced(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with a stream of `SECONDS` at `PACE` chunks a second."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            if b" /v1/chat" not in head:
                writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{"data":[]}')
                continue
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            began = time.perf_counter()
            for number in range(PACE * SECONDS):
                await asyncio.sleep(max(0.0, began + number / PACE - time.perf_counter()))
                writer.write(_chunked(data(chunk({"content": f" word{number}"}))))
            end = data(chunk({}, "stop")) + b"data: [DONE]\n\n"
            writer.write(_chunked(end) + b"0\r\n\r\n")


def _chunked(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


async def stream_percent(folder: Path) -> float:
    """Share of a core that the gateway takes for one stream."""
    core, _ = default_cores()
    server = await asyncio.start_server(paced, "127.0.0.1", 0)
    upstream = server.sockets[0].getsockname()[1]
    port = upstream + 1 if upstream < 65_000 else upstream - 1
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(port=port, upstream=upstream))
    binary = Path(sys.executable).with_name("plugway")
    command = [str(binary), "serve", "--config", str(config)]
    log = folder / "gateway.log"
    async with server, started(command, core, log, BENCH_TOKEN=TOKEN) as process:
        health = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
        await until_answered(process, port, health, log)
        shares = [await _share(process.pid, port) for _ in range(2)]
        idle_began = cpu_seconds(process.pid)
        await asyncio.sleep(1)
        idle = cpu_seconds(process.pid) - idle_began
    return max(0.0, min(shares) - idle) * 100


async def _share(pid: int, port: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, spent = time.perf_counter(), cpu_seconds(pid)
    writer.write(bodies.request(bodies.small("x", stream=True), TOKEN, port))
    received = 0
    while (piece := await reader.read(65_536)) and not piece.endswith(b"0\r\n\r\n"):
        received += piece.count(b"text_delta")
    writer.close()
    if received < PACE * SECONDS * 0.99:
        sys.exit(f"only {received} events came")
    return (cpu_seconds(pid) - spent) / (time.perf_counter() - began)


async def measured() -> dict[str, float]:
    """All figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        share = await stream_percent(Path(folder))
    return {
        "request_to_chat_ms": request_milliseconds(to_chat, 200),
        "request_to_responses_ms": request_milliseconds(to_responses, 200),
        "stream_percent_of_a_core": share,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    figures = asyncio.run(measured())
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        goal = STREAM_GOAL_PERCENT if "percent" in name else REQUEST_GOAL_MS
        print(f"{name:28} {value:8.3f}   <= {goal:g}   {'ok' if value <= goal else 'miss'}")


if __name__ == "__main__":
    main()
