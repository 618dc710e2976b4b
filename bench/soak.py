"""Many slow streams for a long time: no event lost, reordered or altered, and stable memory.

`python -m bench.soak` runs 100 streams of 30 events per second for five minutes through `plugway
serve`. All events differ; what arrives is compared byte for byte with what was sent. Memory is
stable if the last third uses at most 3 % more than the second. With `--api chat` the upstream uses
Chat Completions, and the text is compared piece by piece.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import re
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench import bodies
from bench.gateway import CONFIGS
from bench.process import cpu_seconds, rss_megabytes, started, until_answered
from bench.upstream import (
    CHAT,
    CLOSING,
    HEAD,
    MESSAGE,
    MESSAGES,
    chat_delta,
    chunk_bytes,
    event_bytes,
)

TOKEN = "bench-token-of-32-characters-0000"
NUMBER = re.compile(rb"bench:i=(\d+);e=(\d+);r=(\d+);")
PAYLOAD = re.compile(rb"^data: ?(.*)", re.MULTILINE)
FLAT = 1.03


def text(number: int, position: int) -> str:
    """The text of one event; no two are equal."""
    return f" {number}:{position} é"


def event(number: int, position: int) -> bytes:
    """The event with that text, in the Messages API."""
    delta = {"type": "text_delta", "text": text(number, position)}
    return event_bytes("content_block_delta", index=0, delta=delta)


def chat_event(number: int, position: int) -> bytes:
    """The same in Chat Completions."""
    return chat_delta({"content": text(number, position)})


OPENING = event_bytes("message_start", message=MESSAGE) + event_bytes(
    "content_block_start", index=0, content_block={"type": "text", "text": ""}
)


class Seen:
    """The hash of a stream: of its bytes, or of its pieces of text if they were translated."""

    def __init__(self, translated: bool) -> None:
        self.hash = hashlib.sha256()
        self.translated = translated
        self.rest = b""

    def add(self, data: bytes) -> None:
        """Add the next bytes."""
        if not self.translated:
            self.hash.update(data)
            return
        *whole, self.rest = (self.rest + data).split(b"\n\n")
        for found in filter(None, (PAYLOAD.search(one) for one in whole)):
            payload = json.loads(found[1])
            if payload["type"] == "content_block_delta":
                self.hash.update(payload["delta"]["text"].encode() + b"\0")
            elif payload["type"] == "message_stop":
                self.hash.update(b"end")


def expected(number: int, events: int, translated: bool) -> str:
    """The hash of the stream that must arrive."""
    if translated:
        pieces = (text(number, position).encode() + b"\0" for position in range(events))
        return hashlib.sha256(b"".join(pieces) + b"end").hexdigest()
    found = hashlib.sha256(OPENING)
    for position in range(events):
        found.update(event(number, position))
    found.update(b"".join(CLOSING))
    return found.hexdigest()


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reply to each request with the stream that its marker asks for."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            chat = b"/chat/completions" in head[:60]
            answers, make = (CHAT, chat_event) if chat else (MESSAGES, event)
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            order = NUMBER.search(await reader.readexactly(int(length[1]) if length else 0))
            if order is None:
                writer.write(answers.whole)
                continue
            number, events, rate = map(int, order.groups())
            writer.write(CHAT.start if chat else HEAD + chunk_bytes(OPENING))
            loop = asyncio.get_running_loop()
            due = loop.time() + number % rate / rate**2
            for position in range(events):
                due += 1 / rate
                await asyncio.sleep(due - loop.time())
                writer.write(chunk_bytes(make(number, position)))
                await writer.drain()
            writer.write(answers.end)


async def client(port: int, number: int, events: int, rate: int, translated: bool) -> str:
    """The hash of one stream as it arrived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = bodies.small(f"bench:i={number};e={events};r={rate};", stream=True)
    writer.write(bodies.request(body, TOKEN, port))
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise RuntimeError(head.decode("latin-1"))
    seen = Seen(translated)
    while True:
        length = int((await reader.readuntil(b"\r\n")).strip(), 16)
        data = await reader.readexactly(length + 2)
        if not length:
            writer.close()
            return seen.hash.hexdigest()
        seen.add(data[:-2])


async def watch(pid: int, seconds: float, samples: list[float]) -> None:
    """Sample the resident memory every few seconds, and print it."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(min(5.0, seconds / 12))
        samples.append(rss_megabytes(pid))
        if len(samples) % 6 == 0:
            took = time.monotonic() - began
            print(f"{took:5.0f} s  {samples[-1]:.1f} MB", file=sys.stderr)


async def soak(options: argparse.Namespace, folder: Path) -> int:
    """Run the test; returns the exit status."""
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = folder / "config.yaml"
    content = CONFIGS[options.api].format(port=options.port, upstream=url)
    config.write_text(content, encoding="utf-8")
    translated = options.api == "chat"
    config.chmod(0o600)
    command = [str(Path(sys.executable).with_name("plugway")), "serve", "--config", str(config)]
    command += shlex.split("--log-level warning")
    events = int(options.seconds * options.rate)
    log = folder / "gateway.log"
    async with server, started(command, None, log, BENCH_TOKEN=TOKEN) as process:
        hello = bodies.request(bodies.small("hello", stream=False), TOKEN, options.port)
        await until_answered(process, options.port, hello, log)
        samples: list[float] = []
        watching = asyncio.create_task(watch(process.pid, options.seconds, samples))
        cpu = cpu_seconds(process.pid)
        found = await asyncio.gather(
            *(
                client(options.port, n, events, options.rate, translated)
                for n in range(options.streams)
            )
        )
        cpu = cpu_seconds(process.pid) - cpu
        await watching
    wrong = [n for n, digest in enumerate(found) if digest != expected(n, events, translated)]
    third = len(samples) // 3
    before, after = (statistics.median(s) for s in (samples[third : 2 * third], samples[-third:]))
    total = events * options.streams
    print(f"streams      {options.streams} of {events} events, {len(wrong)} differ from those sent")
    print(f"memory       {before:.1f} MB, at the end {after:.1f} MB")
    print(f"CPU          {cpu / total * 1e6:.1f} us per event")
    return 1 if wrong or after > before * FLAT else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api", choices=list(CONFIGS), default="messages", help="upstream API")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=int, default=30, help="events per second and stream")
    parser.add_argument("--seconds", type=float, default=300.0, help="up to 600")
    parser.add_argument("--port", type=int, default=9186)
    options = parser.parse_args()
    options.seconds = min(options.seconds, 600.0)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        sys.exit(asyncio.run(soak(options, Path(folder))))


if __name__ == "__main__":
    main()
