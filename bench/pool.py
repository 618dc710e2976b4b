"""Whether conversations meet their prompt cache behind a pool of servers, and survive failures.

    python -m bench.pool                                  plugway's pool, with and without ids
    python -m bench.pool --router PYTHON                  and sglang-router, of that environment

Four scripted engines with a prefix cache each (`bench.engine`), 40 conversations of 20 turns, all
at once, over Chat Completions. In the second part one engine is slow, one is killed after a quarter
of the turns, and one leaves the list after half of them. Figures:

`met`       share of the turns after the first that found 95 % of the previous prompt cached
`computed`  prompt tokens that the engines computed, relative to what a single cache would need
`first`     mean seconds to the first token, relative to the first row
`cut`       replies that broke off after their first words, which the client asks for again
`failed`    turns without a complete reply otherwise
`moves`     how often a conversation changed its engine, and how many conversations did
`unforced`  moves away from an engine that was neither killed nor had left the list

`sglang-router` gets its default `cache_aware` policy, and in `tuned` thresholds that suit this
number of requests. It is not installed by this repository: `python -m venv E; E/bin/pip install
sglang-router==0.3.2`, and `--router E/bin/python`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import httpx2

from bench.process import started, until_answered

ENGINES = 4
FIRST_PORT = 9391
PORT = 9380
TOKEN = "bench-token-of-32-characters-0000"
Target = Literal["plugway", "plugway-plain", "sglang-router", "sglang-router-tuned", "round-robin"]
ROUTER: dict[str, Sequence[str]] = {
    "sglang-router": ("--policy", "cache_aware"),
    "sglang-router-tuned": (
        *("--policy", "cache_aware", "--cache-threshold", "0.6"),
        *("--balance-abs-threshold", "4", "--balance-rel-threshold", "1.25"),
    ),
    "round-robin": ("--policy", "round_robin"),
}
MET = 0.95
WIDTH = 11
SYSTEM = "You are a coding agent. " * 160
CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, token: {{$env: BENCH_TOKEN}}}}
plugins:
  - use: openai-api
  - use: resilience
  - use: pool
    name: fleet
    options:
      kind: sglang
      file: {file}
      refresh_seconds: 0.2
      load_seconds: 0.5
      server_options: {{learn: false}}
"""


@dataclass
class Turn:
    """One turn of a conversation, as its client saw it."""

    prompt: int = 0
    cached: int = 0
    engine: str = ""
    first: float = 0.0
    failed: str = ""
    began: float = field(default_factory=time.perf_counter)


@dataclass
class Run:
    """All turns of one target, by conversation."""

    target: str
    turns: list[list[Turn]] = field(default_factory=list[list[Turn]])
    computed: int = 0
    cut: int = 0
    gone: dict[str, float] = field(default_factory=dict[str, float])
    """When engines were killed or left."""

    @property
    def all(self) -> list[Turn]:
        return [turn for turns in self.turns for turn in turns]

    def met(self) -> float:
        """Share of later turns that met their cache."""
        pairs = [(a, b) for turns in self.turns for a, b in pairwise(turns)]
        pairs = [(a, b) for a, b in pairs if not b.failed and not a.failed]
        return sum(b.cached >= MET * a.prompt for a, b in pairs) / max(1, len(pairs))

    def needed(self) -> int:
        """Prompt tokens that a single cache without a limit would compute."""
        last = sum(max((t.prompt for t in turns), default=0) for turns in self.turns)
        return last - len(SYSTEM) // 4 * (len(self.turns) - 1)

    def moves(self) -> list[list[bool]]:
        """For each conversation, whether each change of its engine was forced."""
        found: list[list[bool]] = []
        for turns in self.turns:
            served = [turn for turn in turns if turn.engine]
            pairs = [(a, b) for a, b in pairwise(served) if a.engine != b.engine]
            found.append([self.gone.get(a.engine, b.began) < b.began for a, b in pairs])
        return found

    def first(self) -> float:
        return statistics.fmean([t.first for t in self.all if t.first] or [0.0])


class Bench:
    """The engines, one target in front of them, and the conversations."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.list = folder / "servers.txt"
        self.processes: list[asyncio.subprocess.Process] = []

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{FIRST_PORT + n}" for n in range(ENGINES)]

    @contextlib.asynccontextmanager
    async def engines(self, slow: Sequence[float]) -> AsyncGenerator[None]:
        """New engines, with empty caches."""
        async with contextlib.AsyncExitStack() as stack:
            self.processes = []
            for number in range(ENGINES):
                port, log = FIRST_PORT + number, self.folder / f"engine-{number}.log"
                command = [sys.executable, "-m", "bench.engine", "--port", str(port)]
                command += ["--name", f"e{number}", "--slow", str(slow[number])]
                process = await stack.enter_async_context(started(command, None, log))
                await until_answered(process, port, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n", log)
                self.processes.append(process)
            yield

    @contextlib.asynccontextmanager
    async def target(self, target: str) -> AsyncGenerator[None]:
        """What is measured, at `PORT`."""
        self.list.write_text("\n".join(self.urls))
        log = self.folder / f"{target}.log"
        if target.startswith("plugway"):
            config = self.folder / "config.yaml"
            config.write_text(CONFIG.format(port=PORT, file=self.list))
            config.chmod(0o600)
            command = [
                str(Path(sys.executable).with_name("plugway")),
                "serve",
                "--config",
                str(config),
            ]
            path, environment = "/v1/models", {"BENCH_TOKEN": TOKEN, "HOME": str(self.folder)}
        else:
            command = [self.options.router, "-m", "sglang_router.launch_router"]
            command += ["--host", "127.0.0.1", "--port", str(PORT), "--worker-urls", *self.urls]
            command += ["--prometheus-port", str(PORT + 1), "--log-level", "warn", *ROUTER[target]]
            path, environment = "/health", {}
        request = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{PORT}\r\n"
        request += f"authorization: Bearer {TOKEN}\r\n\r\n"
        async with started(command, None, log, **environment) as process:
            await until_answered(process, PORT, request.encode(), log)
            await self._warm()
            yield

    async def _warm(self) -> None:
        """Wait until every engine is known: a request of its own to the target."""
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            for _ in range(100):
                turn = await self.turn(client, [{"role": "user", "content": "warm"}], "warm")
                if not turn.failed:
                    return
                await asyncio.sleep(0.1)
        sys.exit(f"the target serves nothing: {turn.failed}")

    async def run(self, target: str, *, faults: bool) -> Run:
        """All conversations through one target."""
        slow = [1.0, 4.0, 1.0, 1.0] if faults else [1.0] * ENGINES
        count, length = self.options.conversations, self.options.turns
        found = Run(target, [[] for _ in range(count)])
        done = 0
        events: list[tuple[int, str, Callable[[], Any]]] = []
        if faults:
            total = count * length
            events = [
                (total // 4, "e2", self._kill),
                (total // 2, "e3", lambda: self._drain(target)),
            ]
        async with self.engines(slow), self.target(target):
            limits = httpx2.Limits(max_connections=count)
            async with httpx2.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:

                async def converse(number: int) -> None:
                    nonlocal done
                    chance = random.Random(number)
                    messages: list[dict[str, str]] = [{"role": "system", "content": SYSTEM}]
                    await asyncio.sleep(chance.random())
                    for at in range(length):
                        text = f"conversation {number} turn {at}: "
                        text += " ".join(str(chance.random()) for _ in range(90 if at == 0 else 30))
                        messages.append({"role": "user", "content": text})
                        session = "" if target == "plugway-plain" else f"session-{number}"
                        turn = await self.turn(client, messages, session)
                        if turn.failed and turn.engine:
                            found.cut += 1
                            turn = await self.turn(client, messages, session)
                        found.turns[number].append(turn)
                        reply = turn.failed or f"[{turn.engine}] answer {at} "
                        messages.append({"role": "assistant", "content": reply * 6})
                        done += 1
                        while events and done >= events[0][0]:
                            engine, act = events.pop(0)[1:]
                            await act()
                            found.gone[engine] = time.perf_counter()

                await asyncio.gather(*map(converse, range(count)))
            found.computed = await self._computed()
        return found

    async def turn(
        self, client: httpx2.AsyncClient, messages: list[dict[str, str]], session: str
    ) -> Turn:
        """One streamed turn."""
        body = {"model": "bench", "messages": messages, "stream": True}
        body |= {"stream_options": {"include_usage": True}}
        lines = {"authorization": f"Bearer {TOKEN}"}
        lines |= {"x-bench-session-id": session} if session else {}
        turn = Turn(failed="no end")
        url = f"http://127.0.0.1:{PORT}/v1/chat/completions"
        try:
            async with client.stream("POST", url, json=body, headers=lines) as response:
                if response.status_code != 200:
                    turn.failed = f"{response.status_code} {(await response.aread())[:200]!r}"
                    return turn
                async for line in response.aiter_lines():
                    if line == "data: [DONE]":
                        turn.failed = ""
                    elif line.startswith("data: {"):
                        _read(json.loads(line[6:]), turn)
        except httpx2.HTTPError as error:
            turn.failed = f"{type(error).__name__}: {error}"
        return turn

    async def _kill(self) -> None:
        os.killpg(self.processes[2].pid, signal.SIGKILL)

    async def _drain(self, target: str) -> None:
        gone = self.urls[3]
        if target.startswith("plugway"):
            draft = self.list.with_suffix(".new")
            draft.write_text("\n".join(url for url in self.urls if url != gone))
            os.replace(draft, self.list)
            return
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
            base = f"http://127.0.0.1:{PORT}"
            workers = (await client.get(f"{base}/workers")).json().get("workers", [])
            for worker in workers:
                if worker.get("url") == gone:
                    await client.delete(f"{base}/workers/{worker['id']}")

    async def _computed(self) -> int:
        total = 0
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
            for url in self.urls:
                with contextlib.suppress(httpx2.HTTPError):
                    total += (await client.get(f"{url}/bench/state")).json()["computed"]
        return total


def _read(chunk: dict[str, Any], turn: Turn) -> None:
    choices: list[dict[str, Any]] = chunk.get("choices") or []
    text = choices[0].get("delta", {}).get("content") or "" if choices else ""
    if text.startswith("[") and not turn.engine:
        turn.engine, turn.first = text[1:].partition("]")[0], time.perf_counter() - turn.began
    if usage := chunk.get("usage"):
        turn.prompt = usage["prompt_tokens"]
        turn.cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)


def report(title: str, runs: Sequence[Run], *, faults: bool) -> None:
    """Print a table."""
    names = ("met", "computed", "first", "cut", "failed", "moves", "unforced")
    print(f"\n{title}\n{'':20}" + "".join(f"{name:>{WIDTH}}" for name in names))
    for run in runs:
        moves = run.moves()
        cells = (
            f"{run.met():.1%}",
            "" if faults else f"{run.computed / max(1, run.needed()):.2f}",
            f"{run.first() / (runs[0].first() or 1):.2f}",
            f"{run.cut}",
            f"{sum(bool(turn.failed) for turn in run.all)}",
            f"{sum(map(len, moves))} in {sum(map(bool, moves))}",
            f"{sum(not forced for each in moves for forced in each)}",
        )
        print(f"{run.target:20}" + "".join(f"{cell:>{WIDTH}}" for cell in cells))
        for reason in sorted({turn.failed[:150] for turn in run.all if turn.failed})[:3]:
            print(f"{'':6}{reason}")


async def measure(options: argparse.Namespace) -> None:
    """Run both parts with every target."""
    targets = ["plugway", "plugway-plain", *(ROUTER if options.router else ())]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        for faults, title in ((False, "four servers"), (True, "one slow, one killed, one leaves")):
            if options.part not in ("both", "faults" if faults else "cache"):
                continue
            runs = [await bench.run(target, faults=faults) for target in targets]
            report(title, runs, faults=faults)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--router", default="", help="Python with sglang-router")
    parser.add_argument("--conversations", type=int, default=40)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--part", choices=("both", "cache", "faults"), default="both")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
