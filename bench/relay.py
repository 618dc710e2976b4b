"""The cost of relaying a request unchanged: an OpenAI client with a Chat server, compared to a
client of the Messages API with a server of its API.

    python -m bench.relay             about fifteen seconds
    python -m bench.relay --json

Both use one gateway with `openai-api`, resilience and a router, in turns; the figures are the CPU
time of its process per request and reply, the best of all rounds, and their ratio. Goal: 1.4.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import bodies
from bench.process import cpu_seconds, default_cores, started, until_answered

TOKEN = "bench-token-of-32-characters-0000"
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, token: {{$env: BENCH_TOKEN}}}}
plugins:
  - use: openai-api
  - use: resilience
  - use: router
    options: {{models: {{"*": [chat], bench: [messages]}}}}
  - use: openai-compatible
    name: chat
    options: {{base_url: "http://127.0.0.1:{upstream}/v1", learn: false}}
  - use: anthropic-compatible
    name: messages
    options: {{base_url: "http://127.0.0.1:{upstream}", native_errors: true}}
"""
GOAL = 1.4
ROUNDS, EACH = 12, 60


def as_chat(body: bytes) -> bytes:
    """A request of the Messages API in the format of an OpenAI client."""
    asked: dict[str, Any] = json.loads(body)
    system = [{"role": "system", "content": block["text"]} for block in asked.get("system", ())]
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool["description"],
                "parameters": tool["input_schema"],
            },
        }
        for tool in asked.get("tools", ())
    ]
    fields = {"model": "chat/bench", "max_completion_tokens": asked["max_tokens"], "stream": False}
    fields |= {"tools": tools} if tools else {}
    fields["messages"] = [*system, *asked["messages"]]
    return json.dumps(fields, separators=(",", ":")).encode()


async def spent(pid: int, port: int, request: bytes) -> float:
    """CPU microseconds of the gateway for one request, over a kept connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = cpu_seconds(pid)
    for _ in range(EACH):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(head.decode("latin-1") + (await reader.read(2000)).decode("latin-1"))
        length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
        await reader.readexactly(int(length))
    writer.close()
    return (cpu_seconds(pid) - began) / EACH * 1e6


async def measured(upstream: int) -> dict[str, float]:
    """All figures of one run."""
    port, order = upstream + 1, bodies.marker()
    requests: dict[str, bytes] = {}
    for size, body in (("small", bodies.small), ("115 KB", bodies.big)):
        messages = body(order, stream=False)
        requests[f"messages, {size}"] = bodies.request(messages, TOKEN, port)
        chat = bodies.request(as_chat(messages), TOKEN, port)
        requests[f"chat, {size}"] = chat.replace(b"/messages?beta=true", b"/chat/completions", 1)
    core, load_core = default_cores()
    found: dict[str, list[float]] = {name: [] for name in requests}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(port=port, upstream=upstream))
        server = [sys.executable, "-m", "bench.upstream", "--port", str(upstream)]
        binary = Path(sys.executable).with_name("plugway")
        gateway = [str(binary), "serve", "--config", str(config)]
        ask = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
        async with (
            started(server, load_core, folder / "upstream.log") as behind,
            started(gateway, core, folder / "log", BENCH_TOKEN=TOKEN) as process,
        ):
            await until_answered(
                behind, upstream, b"GET / HTTP/1.1\r\n\r\n", folder / "upstream.log"
            )
            await until_answered(process, port, ask, folder / "log")
            for _ in range(ROUNDS):
                for what, request in requests.items():
                    found[what].append(await spent(process.pid, port, request))
    figures = {what: min(values) for what, values in found.items()}
    for size in ("small", "115 KB"):
        figures[f"ratio, {size}"] = figures[f"chat, {size}"] / figures[f"messages, {size}"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--port", type=int, default=9280, help="upstream port; the next one is used too"
    )
    options = parser.parse_args()
    figures = asyncio.run(measured(options.port))
    if options.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        unit = f"   <= {GOAL}   {'ok' if value <= GOAL else 'miss'}" if "ratio" in name else " us"
        print(f"{name:20} {value:8.2f}{unit}")


if __name__ == "__main__":
    main()
