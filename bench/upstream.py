"""A deterministic upstream that is fast enough not to limit the measurement.

`python -m bench.upstream --port 9180` replies to `POST /v1/messages` as the marker in the body says
(`bench.bodies.marker`), and to `POST /v1/chat/completions` likewise in that API.
`GET /bench/state?i=7` returns when request 7 arrived and when its client disconnected, on the
system's monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from bench.process import pin

T = TypeVar("T")
ORDER = re.compile(rb"bench:((?:[a-z]=\d+;)+)")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def event_bytes(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def chunk_bytes(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole_bytes(content: dict[str, Any]) -> bytes:
    """A response with a length."""
    body = json.dumps(content).encode()
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(body), body)
    )


USAGE = {"input_tokens": 10, "output_tokens": 1}
MESSAGE: dict[str, Any] = {
    "id": "msg_bench", "type": "message", "role": "assistant", "model": "bench",
    "content": [], "stop_reason": None, "stop_sequence": None, "usage": USAGE,
}  # fmt: skip
ANSWER = whole_bytes(
    MESSAGE | {"content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn"}
)
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\nrequest-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
START = (
    HEAD
    + chunk_bytes(event_bytes("message_start", message=MESSAGE))
    + chunk_bytes(
        event_bytes("content_block_start", index=0, content_block={"type": "text", "text": ""})
    )
)
DELTA = event_bytes("content_block_delta", index=0, delta={"type": "text_delta", "text": " tok"})
CLOSING = (
    event_bytes("content_block_stop", index=0),
    event_bytes(
        "message_delta",
        delta={"stop_reason": "end_turn", "stop_sequence": None},
        usage={"output_tokens": 9},
    ),
    event_bytes("message_stop"),
)
END = b"".join(map(chunk_bytes, CLOSING)) + b"0\r\n\r\n"


@dataclass(frozen=True)
class Answers:
    """The replies of one API: a complete message; a stream's start, two alternating events, end.

    The events alternate because LiteLLM stops a Chat Completions stream with repeated chunks.
    """

    whole: bytes
    start: bytes
    deltas: tuple[bytes, bytes]
    end: bytes

    def blocks(self, count: int, joined: bool) -> tuple[bytes, bytes]:
        """The alternating writes: `count` events each, in one chunk if `joined`."""
        first, second = (
            [self.deltas[(turn + number) % 2] for number in range(count)] for turn in (0, 1)
        )
        if joined:
            return chunk_bytes(b"".join(first)), chunk_bytes(b"".join(second))
        return b"".join(map(chunk_bytes, first)), b"".join(map(chunk_bytes, second))


MESSAGES = Answers(ANSWER, START, (DELTA, DELTA), END)


def chat_bytes(**fields: Any) -> bytes:
    """An event of Chat Completions in its documented shape (`chat.completion.chunk`)."""
    chunk = CHAT_COMMON | {"object": "chat.completion.chunk"} | fields
    return f"data: {json.dumps(chunk)}\n\n".encode()


def chat_delta(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return chat_bytes(choices=[choice])


CHAT_COMMON = {"id": "chatcmpl-bench", "created": 1_700_000_000, "model": "bench"}
CHAT_USAGE = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}
CHAT_CHOICE = {
    "index": 0, "message": {"role": "assistant", "content": "Hello."}, "logprobs": None,
    "finish_reason": "stop",
}  # fmt: skip
CHAT_CLOSING = (
    chat_delta({}, "stop"),
    chat_bytes(choices=[], usage=CHAT_USAGE),
    b"data: [DONE]\n\n",
)
CHAT = Answers(
    whole_bytes(
        CHAT_COMMON | {"object": "chat.completion", "choices": [CHAT_CHOICE], "usage": CHAT_USAGE}
    ),
    HEAD + chunk_bytes(chat_delta({"role": "assistant", "content": ""})),
    (chat_delta({"content": " tok"}), chat_delta({"content": " ken"})),
    b"".join(map(chunk_bytes, CHAT_CLOSING)) + b"0\r\n\r\n",
)

SEEN: dict[int, dict[str, float]] = {}


class Upstream(asyncio.Protocol):
    """One connection: reads a request, follows its marker, reads the next."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.head = b""
        self.pieces: list[bytes] = []
        self.missing = 0
        self.paused = False
        self.scheduled = False
        self.left = 0
        self.per_write = 1
        self.interval = 0.0
        self.next = 0.0
        self.blocks = (b"", b"")
        self.identity = 0
        self.answers = MESSAGES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def _gone(self) -> None:
        self.left = 0
        if self.identity:
            SEEN.setdefault(self.identity, {}).setdefault("left", time.monotonic())

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.left and not self.scheduled:
            self.write_more()

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self.head[end + 4 :]
            self.head, head = b"", self.head[:end]
            if head.startswith(b"GET"):
                self.report(head)
                return
            self.answers = CHAT if b"/chat/completions" in head[:60] else MESSAGES
            length = LENGTH.search(head)
            self.missing = int(length[1]) if length else 0
            self.pieces.clear()
        self.missing -= len(data)
        self.pieces.append(data)
        if self.missing <= 0:
            self.missing = 0
            self.answer()

    def report(self, head: bytes) -> None:
        """Report what is known of a request, or only that this process is up."""
        wanted = re.search(rb"i=(\d+)", head)
        body = json.dumps(SEEN.get(int(wanted[1]), {}) if wanted else {}).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    def answer(self) -> None:
        """Start the reply that the marker asks for; without a marker a small complete message."""
        found = ORDER.search(self.pieces[-1][-512:]) or ORDER.search(b"".join(self.pieces))
        order = dict(item.split(b"=") for item in found[1].split(b";") if item) if found else {}
        orders = {name.decode(): int(value) for name, value in order.items()}
        self.identity = orders.get("i", 0)
        if self.identity:
            SEEN.setdefault(self.identity, {})["arrived"] = time.monotonic()
        if orders.get("s"):
            return
        if not orders.get("e"):
            self.identity = 0
            self.transport.write(self.answers.whole)
            return
        self.left = orders["e"]
        self.per_write = orders.get("b", 1)
        self.interval = 1 / orders["r"] if orders.get("r") else 0.0
        self.blocks = self.answers.blocks(self.per_write, bool(orders.get("c")))
        self.next = self.loop.time()
        self.transport.write(self.answers.start)
        self.write_more()

    def write_more(self) -> None:
        """Write once, and schedule the next write for the next loop turn or when it is due."""
        self.scheduled = False
        if self.paused or not self.left:
            return
        block, after = self.blocks
        self.transport.write(block)
        self.blocks = after, block
        self.left = max(0, self.left - self.per_write)
        if not self.left:
            self.identity = 0
            self.transport.write(self.answers.end)
            return
        self.scheduled = True
        if self.interval:
            self.next += self.interval
            self.loop.call_at(self.next, self.write_more)
        else:
            self.loop.call_soon(self.write_more)


async def serve(port: int) -> None:
    """Serve until the process is terminated."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    print(f"upstream on http://127.0.0.1:{port}", flush=True)
    async with server:
        await server.serve_forever()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the fastest available event loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9180)
    parser.add_argument("--core", type=int, help="run on this core")
    options = parser.parse_args()
    pin(options.core)
    run(serve(options.port))


if __name__ == "__main__":
    main()
