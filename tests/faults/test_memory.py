"""Memory use of the worst replies, and its release, measured at the process of `plugway serve`.

Growth is relative to the memory after each backend has served a request. `PLUGWAY_SLOW=1` tries
each kind of reply with each backend, with far longer replies and the exact limits; otherwise 50%
more is allowed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest

from plugway.testing import ScriptedUpstream, request_body, respond
from plugway.upstream.upstream import MAX_WHOLE_BYTES
from tests.faults import hostile
from tests.faults.answers import APIS, event, streamed, whole
from tests.faults.served import TOKEN, served
from tests.slow import SLOW

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(1800 if SLOW else 120),
    pytest.mark.skipif(sys.platform != "linux", reason="/proc"),
]

MIB = 2**20
ENDLESS = (64 if SLOW else 12) * MIB
"""More than any limit: a reply of that size counts as endless."""
EVENTS = 100_000 if SLOW else 2_000
PIECE = 32 * 1024
LARGEST = MAX_WHOLE_BYTES - 4096
ROOM = 1 if SLOW else 1.5
MOST_OF_STREAMS = 24 * MIB * ROOM
MOST_OF_WHOLE = 64 * MIB * ROOM
MOST_AFTERWARDS = 24 * MIB
SECONDS_TO_RETURN = 10
WORST = ("x", "\n", "é", "\U0001f600") if SLOW else ()
MIXED = ("\u2014", "\U0001f600") if SLOW else ("\U0001f600",)
"""Characters that make Python use two or four bytes for each character of a text."""
SPOKEN = ("messages", "own", "chat", "responses", "gemini", "ollama")
BACKENDS = SPOKEN if SLOW else ("messages", "chat")
TOOLS = [{"name": "Read", "input_schema": hostile.SCHEMA}]
CONFIG = """
plugins:
  - use: dashboard
  - use: openai-api
  - use: local-answers
  - use: switch
  - use: thinking
  - use: resilience
    options:
      repeat_min_seconds: 0
      repeat_max_seconds: 0.01
      breaker_failures: 1000000
      breaker_least_calls: 1000000
  - use: error-normalizer
  - use: server-tools
  - use: tool-repair
  - use: context-guard
  - use: field-policy
  - use: router
    options: {models: {"*": [messages/m]}}
  - {use: anthropic-compatible, name: messages, options: {base_url: "%(url)s", models: [m], zone: local}}
  - {use: anthropic, name: own, options: {base_url: "%(url)s", api_key: {$env: UPSTREAM_KEY}}}
  - {use: openai-compatible, name: chat, options: {base_url: "%(url)s"}}
  - {use: openai, name: responses, options: {base_url: "%(url)s", api_key: {$env: UPSTREAM_KEY}}}
  - {use: gemini, options: {base_url: "%(url)s", api_key: {$env: UPSTREAM_KEY}}}
  - {use: ollama, options: {base_url: "%(url)s"}}
"""
HEAD = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %b\r\n\r\n"
STREAM = HEAD % b"text/event-stream"
WHOLE = HEAD % b"application/json"


class Bench:
    """A gateway in a separate process, and its memory growth since the start."""

    def __init__(self, gateway, upstream):
        self.gateway, self.upstream = gateway, upstream
        self.says = None
        self.before = 0

    def held(self, line="VmRSS"):
        """Growth in bytes now; with `VmHWM` the peak since `watch`."""
        lines = Path(f"/proc/{self.gateway.pid}/status").read_text().splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{line}:"))

    def watch(self):
        """Reset the peak (proc(5), `clear_refs`)."""
        with suppress(OSError):
            Path(f"/proc/{self.gateway.pid}/clear_refs").write_text("5")

    async def given_back(self):
        """Wait until the memory is released."""
        with anyio.move_on_after(SECONDS_TO_RETURN):
            while self.held() - self.before >= MOST_AFTERWARDS:
                await anyio.sleep(0.1)
        left = self.held() - self.before
        assert left < MOST_AFTERWARDS, f"{left / MIB:.0f} MiB"

    async def ask(self, model, stream):
        """The status of the response, which is read completely, and its size."""
        raw = json.dumps(request_body("hi", model=model, stream=stream, tools=TOOLS)).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n"
        head += f"connection: close\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}"
        port = int(self.gateway.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + b"\r\n\r\n" + raw)
            status = int((await reader.readline()).split()[1])
            size = 0
            while not (await reader.readline()).isspace():
                pass
            with suppress(OSError, asyncio.IncompleteReadError):  # cut
                while piece := await reader.read(256 * 1024):
                    size += len(piece)
        finally:
            writer.close()
        return status, size

    async def answer(self, backend, what, script, most, *, stream=True):
        """The status that the client gets for this reply of `backend`."""
        self.says = script
        self.watch()
        told = await self.ask(f"anthropic/{backend}/m", stream)
        self.says = None
        grown = self.held("VmHWM") - self.before
        assert grown < most, f"{backend}, {what}, stream {stream}: {grown / MIB:.0f} MiB"
        return told


@asynccontextmanager
async def bench(folder):
    def answer(request):
        if request.method == "GET":
            return respond(404)
        if found.says is not None:
            return found.says
        api, data = _api(request)
        if data.get("stream") or "streamGenerate" in request.path:
            return [STREAM, *streamed(api)]
        return respond(200, whole(api))

    async with (
        ScriptedUpstream(otherwise=answer) as upstream,
        served(folder, CONFIG % {"url": upstream.url}) as gateway,
    ):
        found = Bench(gateway, upstream)
        for _ in range(3):
            for backend in SPOKEN:
                for stream in (True, False):
                    assert (await found.ask(f"anthropic/{backend}/m", stream))[0] == 200
        found.before = found.held()
        yield found


def _api(request):
    path = request.path.partition("?")[0]
    api = "chat" if path.endswith("/chat/completions") else "messages"
    api = "responses" if path.endswith("/responses") else api
    return "gemini" if "enerateContent" in path else api, json.loads(request.body)


def cut(api, **said):
    """The events of a reply before and after its only piece, and that piece's event with a marker
    instead of its text."""
    events = streamed(api, **said)
    place = next(n for n, data in enumerate(events) if b"@@@" in data)
    return events[:place], events[place]


def endless(api, kind, text, count):
    """A stream in which one kind of item never ends: `count` pieces of `text`."""
    said = (
        {"text": "@@@"} if kind == "text" else {"text": "", "calls": [("Read", '{"path": "@@@"}')]}
    )
    if kind == "thinking":
        said = {"text": "", "thinking": "@@@"}
    before, piece = cut(api, **said)
    piece = piece.replace(b"@@@", text.encode())
    return [STREAM, *before, *_many(piece, count)]


def _many(piece, count):
    """The piece `count` times, in larger writes."""
    each = max(1, PIECE // len(piece))
    return [piece * each] * (count // each)


def streams(api):
    yield "a call without end", endless(api, "call", "x" * PIECE, ENDLESS // PIECE)
    yield "a call without end in tiny pieces", endless(api, "call", "x", EVENTS)
    yield "a text without end", endless(api, "text", "x" * PIECE, ENDLESS // PIECE)
    for start in hostile.BEGUN if SLOW else hostile.BEGUN[:1]:
        script = endless(api, "text", "x" * PIECE, ENDLESS // PIECE)
        begun = cut(api, text="@@@")[1].replace(b"@@@", json.dumps(start)[1:-1].encode())
        place = len(script) - ENDLESS // PIECE
        yield f"{start} and no end", [*script[:place], begun, *script[place:]]
    yield "tiny events", endless(api, "text", "x", EVENTS)
    yield "a line without end", [STREAM, b"data: ", *[b"x" * PIECE] * (ENDLESS // PIECE)]
    yield "pings", [STREAM, *_many(event({"type": "ping"}, "ping"), ENDLESS // 200)]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_worst_streams_use_little_memory_and_release_it(tmp_path, backend):
    async with bench(tmp_path) as gateway:
        for what, script in streams(APIS[backend]):
            for stream in (True, False) if SLOW else (True,):
                status, _ = await gateway.answer(
                    backend, what, script, MOST_OF_STREAMS, stream=stream
                )
                assert status in (200, 502), what
        await gateway.given_back()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_largest_complete_responses_use_little_memory_and_release_it(tmp_path, backend):
    api = APIS[backend]
    texts = [
        run * (LARGEST // (len(json.dumps(run, ensure_ascii=False).encode()) - 2)) for run in WORST
    ]
    texts += ["x" * LARGEST + mark for mark in MIXED]
    async with bench(tmp_path) as gateway:
        for text in texts:
            raw = json.dumps(whole(api, text=text), ensure_ascii=False).encode()
            assert len(raw) > LARGEST - 4096
            for stream in (True, False):
                told = await gateway.answer(
                    backend, text[-3:], [WHOLE, raw], MOST_OF_WHOLE, stream=stream
                )
                # Google only sends events in reply to a stream request.
                assert (
                    told[0] == 502
                    if (api, stream) == ("gemini", True)
                    else told[1] > LARGEST - 4096
                )
        endless_body = [WHOLE, *[b"x" * PIECE] * (ENDLESS // PIECE)]
        told = await gateway.answer(backend, "endless", endless_body, MOST_OF_STREAMS, stream=False)
        assert told[0] == 502
        await gateway.given_back()
