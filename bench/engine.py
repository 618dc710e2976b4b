"""A scripted inference engine with a prefix cache, for `bench.pool`.

`python -m bench.engine --port 9191 --name e0` answers Chat Completions as SGLang's server does
(`srt/entrypoints/http_server.py`, `srt/metrics/collector.py`): models, health, server information,
metrics, and streams whose usage has `prompt_tokens_details.cached_tokens`. It computes nothing: a
prompt takes the time of its tokens that are not cached, a reply that of its own tokens, and at most
`--slots` requests run at once. The cache holds blocks of text in order of use, like a radix cache
with a limit. A reply begins with the engine's name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

BLOCK = 64
"""Characters of a block, of 16 tokens."""
TOKEN = 4
"""Characters of a token."""
WORDS = 24
"""Tokens of a reply."""


class PrefixCache:
    """Blocks of prompts, of which the least recently used are dropped."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def read(self, prompt: str) -> int:
        """The characters of a prompt's start that are cached; all of it is cached afterwards."""
        cached, matches, before = 0, True, b""
        for at in range(0, len(prompt) - BLOCK + 1, BLOCK):
            before = blake2b(before + prompt[at : at + BLOCK].encode(), digest_size=12).digest()
            matches = matches and before in self._blocks
            cached += BLOCK * matches
            self._blocks[before] = None
            self._blocks.move_to_end(before)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        return cached


@dataclass
class Engine:
    """The engine's state."""

    name: str
    slow: float
    cache: PrefixCache
    slots: asyncio.Semaphore
    running: int = 0
    waiting: int = 0
    computed: int = 0
    """Prompt tokens that were not cached."""
    served: list[float] = field(default_factory=list[float])

    async def chat(self, request: Request) -> StreamingResponse | JSONResponse:
        """`POST /v1/chat/completions`."""
        body: dict[str, Any] = await request.json()
        prompt = "".join(f"<{m['role']}>{_text(m['content'])}" for m in body["messages"])
        stream = self._stream(prompt, body["model"])
        if body.get("stream"):
            return StreamingResponse(stream, media_type="text/event-stream")
        parts = [json.loads(line[6:]) async for line in stream if line.startswith("data: {")]
        text = "".join(p["choices"][0]["delta"].get("content", "") for p in parts if p["choices"])
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({**parts[-1], "object": "chat.completion", "choices": [choice]})

    async def _stream(self, prompt: str, model: str) -> AsyncIterator[str]:
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model}

        def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return f"data: {json.dumps({**base, 'choices': [choice], **more})}\n\n"

        self.waiting += 1
        try:
            await self.slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            cached = self.cache.read(prompt) // TOKEN
            tokens = len(prompt) // TOKEN
            self.computed += tokens - cached
            await asyncio.sleep(self.slow * (0.01 + 1e-4 * (tokens - cached)))
            yield chunk({"role": "assistant", "content": f"[{self.name}]"})
            for number in range(WORDS):
                await asyncio.sleep(self.slow * 0.01)
                yield chunk({"content": f" w{number}"})
            yield chunk({}, "stop")
            details = {"cached_tokens": cached}
            usage = {"prompt_tokens": tokens, "completion_tokens": WORDS, "total_tokens": tokens}
            usage |= {"prompt_tokens_details": details}
            yield f"data: {json.dumps({**base, 'choices': [], 'usage': usage})}\n\n"
            yield "data: [DONE]\n\n"
            self.served.append(time.monotonic())
        finally:
            self.running -= 1
            self.slots.release()

    async def metrics(self, _: Request) -> PlainTextResponse:
        """`GET /metrics`."""
        lines = f'sglang:num_running_reqs{{model_name="bench"}} {self.running}.0\n'
        lines += f'sglang:num_queue_reqs{{model_name="bench"}} {self.waiting}.0\n'
        return PlainTextResponse(lines)

    async def state(self, _: Request) -> JSONResponse:
        """`GET /bench/state`."""
        return JSONResponse({"computed": self.computed, "served": len(self.served)})


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


async def _models(_: Request) -> JSONResponse:
    return JSONResponse({"object": "list", "data": [{"id": "bench", "object": "model"}]})


async def _info(_: Request) -> JSONResponse:
    return JSONResponse(
        {"model_path": "bench", "served_model_name": "bench", "is_generation": True}
    )


async def _healthy(_: Request) -> PlainTextResponse:
    return PlainTextResponse("")


def application(engine: Engine) -> Starlette:
    """The engine's routes."""
    information = ("/get_model_info", "/model_info", "/get_server_info", "/server_info")
    return Starlette(
        routes=[
            Route("/v1/chat/completions", engine.chat, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/metrics", engine.metrics),
            Route("/bench/state", engine.state),
            *(Route(path, _info) for path in information),
            *(Route(path, _healthy) for path in ("/health", "/health_generate")),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--slow", type=float, default=1.0, help="factor of all times")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--blocks", type=int, default=12_000, help="blocks of text in the cache")
    options = parser.parse_args()
    cache, slots = PrefixCache(options.blocks), asyncio.Semaphore(options.slots)
    engine = Engine(options.name, options.slow, cache, slots)
    uvicorn.run(
        application(engine),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        http="httptools",
    )


if __name__ == "__main__":
    main()
