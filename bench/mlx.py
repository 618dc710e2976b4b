"""Our MLX engine against `mlx_lm`'s own generation: same model, same machine, same run.

    python -m bench.mlx                     a random model in the Gemma 3 layout
    python -m bench.mlx --model FOLDER      another model
    python -m bench.mlx --rounds 8 --json

Needs `pip install './plugins/mlx[cpu]'` on Linux, `[metal]` on a Mac. The two sides are processes
of their own and alternate. Tokens per second of elapsed time are the best of several rounds,
because other programs can only make them worse. Those of processor time, which are more reliable on
a busy machine, are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import orjson
import psutil

from plugway import Attempt, Exchange, MessagesRequest
from plugway_mlx import Mlx
from plugway_testing._gateway import build_plugin

ROOT = Path(__file__).parents[1]
GOAL = 0.95
"""Least ratio of our tokens per second to theirs."""
PROMPT = "The quick brown fox jumps over the lazy dog. " * 4
THEIRS = """
import json, sys, time
from mlx_lm import load
from mlx_lm.generate import stream_generate
model, tokenizer = load(sys.argv[1])
for line in sys.stdin:
    order = json.loads(line)
    messages = [{"role": "user", "content": order["prompt"]}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    times, cpu = [], []
    for part in stream_generate(model, tokenizer, prompt, max_tokens=order["tokens"]):
        times.append(time.perf_counter())
        cpu.append(time.process_time())
    count = len(times) - 1
    print(json.dumps([count / (times[-1] - times[0]), count / (cpu[-1] - cpu[0])]), flush=True)
"""


class Ours:
    """The backend and its worker, as the gateway uses them."""

    name = "plugway"

    def __init__(self, backend):
        self.backend = backend

    def _processor(self):
        loaded = next(iter(self.backend.loader.loaded.values()))
        used = psutil.Process(loaded.supervisor.pid).cpu_times()
        return used.user + used.system

    async def speak(self, prompt, tokens):
        """Tokens per second of elapsed time and of processor time, after the first token."""
        messages = [{"role": "user", "content": prompt}]
        body = {"model": "default", "max_tokens": tokens, "temperature": 0, "messages": messages}
        request = MessagesRequest(orjson.dumps({**body, "stream": True}))
        reply = await self.backend.send(
            request, Attempt(self.backend, "default", exchange=Exchange(request))
        )
        first = processor = usage = None
        try:
            async for item in reply.events:
                if item.type == "content_block_delta" and first is None:
                    first, processor = time.perf_counter(), self._processor()
                if item.type == "message_delta":
                    usage = item.data["usage"]
        finally:
            await reply.close()
        count = usage["output_tokens"] - 1
        return count / (time.perf_counter() - first), count / (self._processor() - processor)


class Theirs:
    """A process that calls `stream_generate`, which `mlx_lm.generate` uses."""

    name = "mlx_lm"

    def __init__(self, process):
        self.process = process

    async def speak(self, prompt, tokens):
        """The same measurements."""
        order = json.dumps({"prompt": prompt, "tokens": tokens}) + "\n"
        self.process.stdin.write(order.encode())
        await self.process.stdin.drain()
        return json.loads(await self.process.stdout.readline())


async def compare(model, rounds, tokens):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", THEIRS, str(model)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        start_new_session=True,  # as our worker: sessions share processors equally
    )
    plugin = build_plugin(Mlx, "bench", model=str(model), context=8192, disk_cache_mib=0)
    found = {"plugway": [], "mlx_lm": []}
    try:
        async with plugin.lifespan():
            await (await plugin.backend.loader.get("")).supervisor.ready()
            sides = (Ours(plugin.backend), Theirs(process))
            for number in range(rounds):
                for side in sides if number % 2 else sides[::-1]:
                    found[side.name].append(await side.speak(f"{number} {PROMPT}", tokens))
    finally:
        process.stdin.close()
        await process.wait()
    measures = (("decode, elapsed", 0, max), ("decode, processor", 1, median))
    return [
        (name, *(choose(row[n] for row in found[side]) for side in found))
        for name, n, choose in measures
    ]


def random_model(folder):
    sys.path.insert(0, str(ROOT / "plugins/mlx/tests"))
    import tiny_mlx

    return tiny_mlx.write(folder / "bench", "bench")


async def main(arguments):
    folder = Path(tempfile.mkdtemp(prefix="plugway-bench-"))
    for name in ("CACHE", "STATE"):
        os.environ[f"XDG_{name}_HOME"] = str(folder / name)
    model = arguments.model or random_model(folder)
    table = await compare(model, arguments.rounds, arguments.tokens)
    print(
        f"{'tokens/s':20} {'plugway':>10} {'mlx_lm':>10}  ratio (at least {GOAL})", file=sys.stderr
    )
    for name, mine, other in table:
        print(f"{name:20} {mine:10.1f} {other:10.1f} {mine / other:6.2f}", file=sys.stderr)
    if arguments.json:
        rows = [dict(zip(("name", "plugway", "mlx_lm"), row, strict=True)) for row in table]
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asyncio.run(main(parser.parse_args()))
