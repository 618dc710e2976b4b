"""The cost of translating: a big request into another API, and a stream at an agent's pace.

    python -m bench.translation             about fifteen seconds
    python -m bench.translation --json
    python -m bench.translation --litellm ~/venv/bin/litellm      compares with its proxy

A request is timed as CPU of parsing, translating and serializing, the best of many runs. The stream
runs through `plugway serve` with a backend for Chat Completions: 100 chunks per second, with the
CPU of the gateway's process minus its idle CPU; and 2,000 chunks at full speed. Goals: under 2 ms
per request, 3 % of a core, 60 µs per event; 20 times the events per second of LiteLLM's proxy.
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
from collections.abc import AsyncGenerator, Callable
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
LITELLM = """\
model_list:
- model_name: bench
  litellm_params:
    {{model: hosted_vllm/bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
litellm_settings: {{num_retries: 0, telemetry: false}}
"""
MARK = b"event: content_block_delta"
PACE, SECONDS, DENSE = 100, 4, 2000
GOALS = {
    "request_to_chat_ms": 2.0,
    "request_to_responses_ms": 2.0,
    "stream_percent_of_a_core": 3.0,
    "cpu_per_event_us": 60.0,
}


def request_milliseconds(translate: Callable[[dict[str, object]], object], rounds: int) -> float:
    """CPU of one big request from bytes to bytes, the best of several runs."""
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


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reply with a stream: `SECONDS` at `PACE` chunks per second, or `DENSE` chunks at once."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1]) if length else 0)
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            dense, began = b"dense" in body, time.perf_counter()
            for number in range(DENSE if dense else PACE * SECONDS):
                if not dense:
                    await asyncio.sleep(max(0.0, began + number / PACE - time.perf_counter()))
                writer.write(_chunked(data(chunk({"content": f" word{number}"}))))
                await writer.drain()
            end = data(chunk({}, "stop")) + b"data: [DONE]\n\n"
            writer.write(_chunked(end) + b"0\r\n\r\n")


def _chunked(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


async def streams(folder: Path, litellm: str | None) -> dict[str, float]:
    """CPU of the gateway for streams, and events per second through LiteLLM."""
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    at = server.sockets[0].getsockname()[1]
    async with server:
        binary = Path(sys.executable).with_name("plugway")
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(port=at + 1, upstream=at))
        async with serving([str(binary), "serve", "--config", str(config)], at + 1, folder) as pid:
            paced = [await streamed(pid, at + 1, "x", PACE * SECONDS) for _ in range(2)]
            idle_began = cpu_seconds(pid)
            await asyncio.sleep(1)
            idle = cpu_seconds(pid) - idle_began
            dense = [await streamed(pid, at + 1, "dense", DENSE) for _ in range(5)]
        found = {
            "stream_percent_of_a_core": max(0.0, min(c / t for t, c in paced) - idle) * 100,
            "cpu_per_event_us": min(cpu for _, cpu in dense) / DENSE * 1e6,
            "events_per_second": DENSE / min(seconds for seconds, _ in dense),
        }
        if litellm is not None:
            config.write_text(LITELLM.format(upstream=at))
            command = [litellm, "--config", str(config), "--port", str(at + 2)]
            async with serving(command, at + 2, folder) as pid:
                dense = [await streamed(pid, at + 2, "dense", DENSE) for _ in range(2)]
            found["litellm_cpu_per_event_us"] = min(cpu for _, cpu in dense) / DENSE * 1e6
            found["litellm_events_per_second"] = DENSE / min(seconds for seconds, _ in dense)
            ours, theirs = found["events_per_second"], found["litellm_events_per_second"]
            found["times_litellm"] = ours / theirs
    return found


@contextlib.asynccontextmanager
async def serving(command: list[str], port: int, folder: Path) -> AsyncGenerator[int]:
    """A gateway on its own core, once it responds; yields its process id."""
    core, _ = default_cores()
    log = folder / "log"
    env = {"BENCH_TOKEN": TOKEN, "LITELLM_MASTER_KEY": TOKEN}
    env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    path = b"/health/liveliness" if "litellm" in command[0] else b"/health"
    ask = b"GET %b HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n" % path
    async with started(command, core, log, **env) as process:
        await until_answered(process, port, ask, log, 120)
        yield process.pid


async def streamed(pid: int, port: int, order: str, events: int) -> tuple[float, float]:
    """Seconds and CPU seconds of one stream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began, spent = time.perf_counter(), cpu_seconds(pid)
    writer.write(bodies.request(bodies.small(order, stream=True), TOKEN, port))
    received, tail = 0, b""
    while not tail.endswith(b"0\r\n\r\n") and (piece := await reader.read(65_536)):
        received += (tail + piece).count(MARK) - tail.count(MARK)
        tail = (tail + piece)[-200:]
    writer.close()
    if received < events * 0.9:
        sys.exit(f"only {received} of {events} events arrived")
    return time.perf_counter() - began, cpu_seconds(pid) - spent


async def measured(litellm: str | None) -> dict[str, float]:
    """All figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        found = await streams(Path(folder), litellm)
    return {
        "request_to_chat_ms": request_milliseconds(to_chat, 200),
        "request_to_responses_ms": request_milliseconds(to_responses, 200),
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--litellm", metavar="PATH", help="the executable of LiteLLM's proxy")
    options = parser.parse_args()
    figures = asyncio.run(measured(options.litellm))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        goal = GOALS.get(name)
        verdict = "" if goal is None else f"<= {goal:g}   {'ok' if value <= goal else 'miss'}"
        print(f"{name:28} {value:10.3f}   {verdict}")


if __name__ == "__main__":
    main()
