"""Two real llama.cpp workers that do not fit together, in a control group of their own."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import plugway_demo_model
from tests.limited import MIB, Server, control_group, in_group, killed

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(580)]

LIMIT = 330 * MIB
"""For the gateway (90 MiB) and one of two models (170 MiB by plan)."""
CONFIG = """
server: {port: PORT, token: {$env: PLUGWAY_TOKEN}}
plugins:
  - use: memory
    options: {reserve: 40 MiB, wait_seconds: 600}
  - use: router
    options: {models: {a: [one/a], b: [two/b]}}
  - use: llama-cpp
    name: one
    options: {model: FOLDER/a.gguf, context: 65536, slots: 4, kv_type: f32, preload: false,
               disk_cache_mib: 0}
  - use: llama-cpp
    name: two
    options: {model: FOLDER/b.gguf, context: 65536, slots: 4, kv_type: f32, preload: false,
               disk_cache_mib: 0}
"""
EATER = """
import sys
kept = []
for line in sys.stdin:
    kept.append(bytearray(b"x") * int(line))
    print("eaten", flush=True)
"""


@pytest.fixture
def folder():
    folder = Path(tempfile.mkdtemp())  # paths of sockets have to be short
    for name in "ab":
        shutil.copy(plugway_demo_model.model_path(), folder / f"{name}.gguf")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def group():
    with control_group(LIMIT) as folder:
        yield folder


async def test_200_alternating_requests_and_a_program_that_eats_memory(group, folder):
    server = Server(group, folder, CONFIG)
    eater = None
    try:
        await server.ready()
        limiter = anyio.CapacityLimiter(64)

        async def request(number):
            async with limiter:
                said = {"role": "user", "content": f"hello, number {number}"}
                await server.say("ab"[number % 2], [said])

        try:
            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(request, number)
        except ExceptionGroup as failed:
            message = f"{failed.exceptions[0]!r}, {killed(group)} killed: {server.said()}"
            raise AssertionError(message) from None
        seen = await server.memory()
        unloaded = [d["what"] for d in seen["decisions"] if d["what"].startswith("unloaded")]
        assert unloaded, "they do not fit together"
        assert seen["total"] == LIMIT
        assert not killed(group)
        assert len(seen["models"]) == 1

        eater = in_group(
            group, sys.executable, "-c", EATER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        print(max(0, seen["available"] - 60 * MIB), file=eater.stdin, flush=True)
        assert await anyio.to_thread.run_sync(eater.stdout.readline) == "eaten\n"
        seen = await server.memory()
        print(max(0, seen["available"] - 20 * MIB), file=eater.stdin, flush=True)
        began = time.monotonic()
        while seen["models"] and time.monotonic() - began < 60:
            seen = await server.memory()
        assert not seen["models"]
        assert "because" in seen["decisions"][-1]["what"]
        assert not killed(group)
    finally:
        if eater is not None:
            eater.kill()
            eater.communicate(timeout=10)
        await server.aclose()
