"""Two real llama.cpp workers that do not fit together, in a control group of their own."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import anyio
import httpx2
import pytest

import plugway_demo_model
from plugway_local_models.memory import control_groups

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(580)]

PLUGWAY = str(Path(sysconfig.get_path("scripts")) / "plugway")
MIB = 1 << 20
LIMIT = 330 * MIB
"""For the gateway (90 MiB) and one of two models (170 MiB by plan)."""
CONFIG = """
server: {{port: {port}, token: {{$env: PLUGWAY_TOKEN}}}}
plugins:
  - use: memory
    options: {{reserve: 40 MiB, wait_seconds: 600}}
  - use: router
    options: {{models: {{a: [one/a], b: [two/b]}}}}
  - use: llama-cpp
    name: one
    options: {{model: {folder}/a.gguf, context: 65536, slots: 4, kv_type: f32, preload: false,
               disk_cache_mib: 0}}
  - use: llama-cpp
    name: two
    options: {{model: {folder}/b.gguf, context: 65536, slots: 4, kv_type: f32, preload: false,
               disk_cache_mib: 0}}
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
    """A control group with a limit; skips if this machine does not let us create one."""
    own = next(control_groups(), None)
    if own is None:
        pytest.skip("this process is in no memory control group")
    folder = own.folder / f"plugway-test-{os.getpid()}"
    limit = "memory.max" if own.version == 2 else "memory.limit_in_bytes"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be created here: {error}")
    try:
        (folder / limit).write_text(str(LIMIT))
        yield folder
    except OSError as error:
        pytest.skip(f"control groups have no memory limit here: {error}")
    finally:
        folder.rmdir()


def in_group(group, *command, **kinds):
    joined = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    return subprocess.Popen(joined, text=True, **kinds)


def killed(group):
    """Processes that the kernel killed for memory."""
    for name in ("memory.events", "memory.oom_control"):
        if (group / name).exists():
            pairs = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(pairs["oom_kill"])
    raise AssertionError("the group does not count")


class Server:
    def __init__(self, group, folder):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(port=self.port, folder=folder))
        self.env = {name: value for name, value in os.environ.items() if "PLUGWAY" not in name}
        self.env |= {f"XDG_{name}_HOME": str(folder) for name in ("DATA", "CACHE", "STATE")}
        self.env["PLUGWAY_TOKEN"] = "t" * 32
        self.log = (folder / "log").open("w")
        self.process = in_group(
            group, PLUGWAY, "serve", str(config), env=self.env, stdout=self.log, stderr=self.log
        )
        self.client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {self.env['PLUGWAY_TOKEN']}"},
            timeout=600,
            trust_env=False,
        )

    async def ready(self):
        for _ in range(600):
            assert self.process.poll() is None, self.said()
            try:
                return await self.client.get("/health")
            except httpx2.TransportError:
                await anyio.sleep(0.1)  # the only sign of a server that starts
        raise AssertionError("it does not start")

    def said(self):
        return Path(self.log.name).read_text()[-4_000:]

    async def ask(self, model, text):
        body = {"model": model, "max_tokens": 8, "stream": True}
        body["messages"] = [{"role": "user", "content": text}]
        async with self.client.stream("POST", "/v1/messages", json=body) as response:
            read = (await response.aread()).decode()
        assert response.status_code == 200, read
        assert "event: message_stop" in read, read
        assert "event: error" not in read

    def memory(self):
        command = [PLUGWAY, "models", "memory", "--json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)[0]

    async def aclose(self):
        await self.client.aclose()
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


async def test_200_alternating_requests_and_a_program_that_eats_memory(group, folder):
    server = Server(group, folder)
    eater = None
    try:
        await server.ready()
        limiter = anyio.CapacityLimiter(64)

        async def request(number):
            async with limiter:
                await server.ask("ab"[number % 2], f"hello, number {number}")

        try:
            async with anyio.create_task_group() as tasks:
                for number in range(200):
                    tasks.start_soon(request, number)
        except ExceptionGroup as failed:
            message = f"{failed.exceptions[0]!r}, {killed(group)} killed: {server.said()}"
            raise AssertionError(message) from None
        seen = await anyio.to_thread.run_sync(server.memory)
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
        seen = await anyio.to_thread.run_sync(server.memory)
        print(max(0, seen["available"] - 20 * MIB), file=eater.stdin, flush=True)
        began = time.monotonic()
        while seen["models"] and time.monotonic() - began < 60:
            seen = await anyio.to_thread.run_sync(server.memory)
        assert not seen["models"]
        assert "because" in seen["decisions"][-1]["what"]
        assert not killed(group)
    finally:
        if eater is not None:
            eater.kill()
            eater.communicate(timeout=10)
        await server.aclose()
