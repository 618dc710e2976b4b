"""Our local engine against `llama-server` of the same llama.cpp: same model, machine and run.

    python -m bench.local_engine                    a random model in the Gemma 3 layout
    python -m bench.local_engine --model x.gguf     another model
    python -m bench.local_engine --only prefill --rounds 8
    python -m bench.local_engine --json

Needs `tools/build-llama-server` (built once, several minutes). Takes about three minutes. The two
sides alternate, and each figure is the best of several rounds, because other programs can only
make it worse. For cold prefill it is the median, because that row must hold within 5 %. On a busy
machine CPU seconds are more reliable than elapsed time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2
import orjson
import psutil

from plugway import Attempt, Exchange, MessagesRequest
from plugway_llama_cpp import LlamaCpp
from plugway_testing._gateway import build_plugin

ROOT = Path(__file__).parents[1]
CONTEXT, SLOTS = 32_768, 4
WORDS = "The quick brown fox jumps over the lazy dog while the agent reads another file. "


@dataclass
class Answer:
    """The measurements of one reply."""

    first: float
    total: float
    tokens: int
    computed: int = 0
    reused: int = 0

    @property
    def decode(self) -> float:
        """Tokens per second after the first."""
        return (self.tokens - 1) / max(self.total - self.first, 1e-9)


def body_of(messages, *, system="", max_tokens=1):
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    body = {"model": "default", "max_tokens": max_tokens, "temperature": 0, "stream": True}
    return {**body, "messages": messages, **({"system": system} if system else {})}


class Ours:
    """The backend and its worker, as the gateway uses them."""

    name = "plugway"

    def __init__(self, plugin):
        self.backend = plugin.backend

    async def ask(self, body, session="main", agent=None):
        headers = (("x-claude-code-session-id", session),)
        if agent:
            headers += (("x-claude-code-agent-id", agent),)
        began = time.perf_counter()
        request = MessagesRequest(orjson.dumps(body), headers)
        attempt = Attempt(self.backend, "default", exchange=Exchange(request))
        reply = await self.backend.send(request, attempt)
        first, usage = None, {}
        try:
            async for item in reply.events:
                if item.type == "content_block_delta" and first is None:
                    first = time.perf_counter() - began
                if item.type == "message_delta":
                    usage = item.data["usage"]
        finally:
            await reply.close()
        total = time.perf_counter() - began
        read = usage.get("cache_read_input_tokens", 0)
        return Answer(first or total, total, usage["output_tokens"], usage["input_tokens"], read)

    @property
    def pid(self):
        return next(iter(self.backend.loader.loaded.values())).supervisor.pid

    async def abort(self, body, after):
        """Seconds from closing the stream until the worker reports that it has stopped."""
        request = MessagesRequest(orjson.dumps(body))
        supervisor = next(iter(self.backend.loader.loaded.values())).supervisor
        reply = await self.backend.send(request, Attempt(self.backend, "default"))
        await asyncio.sleep(after)
        began = time.perf_counter()
        await reply.close()
        while supervisor._stopping:  # noqa: ASYNC110
            await asyncio.sleep(0.0005)
        return time.perf_counter() - began


class Theirs:
    """`llama-server`'s Anthropic endpoint."""

    name = "llama-server"

    def __init__(self, url, pid):
        self.pid = pid
        # It closes idle connections without notice.
        closing = {"connection": "close"}
        self.client = httpx2.AsyncClient(
            base_url=url, timeout=300, trust_env=False, headers=closing
        )

    async def ask(self, body, session="main", agent=None):
        began = time.perf_counter()
        first, usage = None, {}
        async with self.client.stream("POST", "/v1/messages", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: "):
                    continue
                item = json.loads(line[6:])
                if item["type"] == "content_block_delta" and first is None:
                    first = time.perf_counter() - began
                for holder in (item, item.get("message", {})):
                    usage |= holder.get("usage") or {}
        total = time.perf_counter() - began
        read = usage.get("cache_read_input_tokens", 0)
        return Answer(
            first or total, total, usage.get("output_tokens", 0), usage.get("input_tokens", 0), read
        )


@asynccontextmanager
async def ours(model, threads):
    plugin = build_plugin(
        LlamaCpp,
        "bench",
        model=str(model),
        context=CONTEXT,
        slots=SLOTS,
        threads=threads,
        top_k=40,
    )
    async with plugin.lifespan():
        await (await plugin.backend.loader.get("")).supervisor.ready()
        yield Ours(plugin)


@asynccontextmanager
async def theirs(binary, model, threads, cells):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "-m", str(model), "-c", str(cells), "-np", str(SLOTS), "-t", str(threads)]
    command += ["-b", "512", "-ub", "512", "--host", "127.0.0.1", "--port", str(port), "--jinja"]
    command += ["--kv-unified", "--no-warmup", "--offline"]
    with (Path(tempfile.gettempdir()) / "llama-server.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    side = Theirs(url, process.pid)
    try:
        for _ in range(300):
            try:
                if (await side.client.get("/health")).status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.1)
        yield side
    finally:
        await side.client.aclose()
        process.kill()
        await process.wait()


def text(tokens, mark):
    """About `tokens` tokens that begin differently for each mark."""
    return (f"[{mark}] " + WORDS * (tokens // 40))[: int(tokens * 1.18)]


async def decode(side, mark, streams):
    prompts = [f"{mark} {n}" for n in range(streams)]
    answers = await asyncio.gather(
        *(side.ask(body_of(p, max_tokens=256), session=f"{mark}{p}") for p in prompts)
    )
    return sum(a.decode for a in answers)


def cpu_seconds(side):
    times = psutil.Process(side.pid).cpu_times()
    return times.user + times.system


async def prefill(side, mark, results):
    before = cpu_seconds(side)
    answer = await side.ask(body_of(text(8000, mark)), session=str(mark))
    results.setdefault("cold prefill 8k, CPU", []).append(cpu_seconds(side) - before)
    # What is cached for later is written while nothing is measured.
    await asyncio.sleep(0.6)
    return answer.first


async def second_turn(side, mark, results):
    messages = [{"role": "user", "content": text(20_000, mark)}]
    cold = await side.ask(body_of(messages, max_tokens=16), session=f"c{mark}")
    await asyncio.sleep(0.6)
    messages += [
        {"role": "assistant", "content": "I have read it."},
        {"role": "user", "content": "Now tell me more about it."},
    ]
    warm = await side.ask(body_of(messages), session=f"c{mark}")
    await side.ask(body_of("A title for this please. " + text(500, f"t{mark}")), session=f"c{mark}")
    messages += [{"role": "assistant", "content": "More."}, {"role": "user", "content": "And?"}]
    after = await side.ask(body_of(messages), session=f"c{mark}")
    results.setdefault("cold 20k", []).append(cold.first)
    results.setdefault("after a title", []).append(after.first)
    return warm.first


async def agents(side, mark, results):
    system = text(15_000, f"s{mark}")
    began = time.perf_counter()
    answers = await asyncio.gather(
        *(
            side.ask(body_of(f"Agent {n}: {WORDS * 3}", system=system), f"a{mark}", f"agent{n}")
            for n in range(4)
        )
    )
    computed = sum(a.computed for a in answers)
    largest = max(a.computed + a.reused for a in answers)
    results.setdefault("agents: work / prompt", []).append(computed / largest)
    return time.perf_counter() - began


async def compare(ours_, theirs_, rounds, only):
    table = []

    async def row(name, unit, measure, argument=None, *, best=min, times=rounds):
        if only not in name:
            return
        found = {}
        extra = {}
        for side in (ours_, theirs_):
            found[side.name], extra[side.name] = [], {}
        for n in range(times):
            for side in ((ours_, theirs_), (theirs_, ours_))[n % 2]:
                used = extra[side.name] if argument is None else argument
                found[side.name].append(await measure(side, f"{name}{n}", used))
        table.append((name, unit, best(found["plugway"]), best(found["llama-server"])))
        for key in extra["plugway"]:
            mine, other = (best(extra[s][key]) for s in ("plugway", "llama-server"))
            table.append((key, "x" if "/" in key else unit, mine, other))
        print_row(table[-1 - len(extra["plugway"]) :])

    await row("decode, 1 stream", "tok/s", decode, 1, best=max, times=4 * rounds)
    await row("decode, 4 streams", "tok/s", decode, 4, best=max, times=4 * rounds)
    await row("cold prefill 8k", "s", prefill, best=median, times=max(rounds, 9))
    await row("second turn of 20k", "s", second_turn)
    await row("four agents, 15k common", "s", agents)
    return table


def print_row(rows):
    for name, unit, mine, other in rows:
        ratio = mine / other if other else float("nan")
        print(f"{name:26} {mine:10.3f} {other:12.3f} {unit:6} {ratio:6.2f}", file=sys.stderr)


async def alone(side, model, threads):
    """Figures without a counterpart: restart from disk, and how fast a cancel takes effect."""
    rows = []
    prefilling = [await side.abort(body_of(text(20_000, f"ab{n}")), 0.1) for n in range(3)]
    speaking = [await side.abort(body_of(f"ab {n}", max_tokens=4000), 0.1) for n in range(3)]
    rows.append(("abort in prefill", "s", max(prefilling), 0.0))
    rows.append(("abort in decode", "s", max(speaking), 0.0))
    return rows


async def restart(model, threads):
    messages = [{"role": "user", "content": text(20_000, f"restart{time.time()}")}]
    async with ours(model, threads) as side:
        cold = await side.ask(body_of(messages, max_tokens=16))
        await asyncio.sleep(1)
    messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
    async with ours(model, threads) as side:
        warm = await side.ask(body_of(messages))
    return [("restart: cold, from disk", "s", warm.first, cold.first)]


async def main(arguments):
    folder = Path(tempfile.mkdtemp(prefix="plugway-bench-"))
    for name in ("CACHE", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = str(folder / name)
    model = arguments.model
    if model is None:
        sys.path.insert(0, str(ROOT / "plugins/llama-cpp/tests"))
        import tiny_gguf

        model = tiny_gguf.write(
            folder / "bench.gguf",
            "gemma3",
            layers=5,
            width=256,
            window=512,
            context=CONTEXT,
            vocabulary=8192,
        )
    print(f"{'':26} {'plugway':>10} {'llama-server':>12}        ratio", file=sys.stderr)
    async with (
        ours(model, arguments.threads) as mine,
        theirs(arguments.server, model, arguments.threads, CONTEXT * SLOTS) as other,
    ):
        table = await compare(mine, other, arguments.rounds, arguments.only)
        extra = [] if arguments.only else await alone(mine, model, arguments.threads)
    if not arguments.only:
        extra += await restart(model, arguments.threads)
    print_row(extra)
    if arguments.json:
        names = ("name", "unit", "plugway", "llama_server")
        rows = [dict(zip(names, row, strict=True)) for row in table + extra]
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", default="", help="run only rows whose name contains this")
    parser.add_argument("--json", action="store_true")
    found = parser.parse_args()
    found.server = subprocess.run(
        [ROOT / "tools/build-llama-server"],
        env={**os.environ, "PYTHON": sys.executable},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout.strip()
    asyncio.run(main(found))
