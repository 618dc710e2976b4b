"""One conversation on three engines in turn, on a machine that holds one of their models at a time.

MLX on the CPU, llama.cpp, and an Ollama that is a script but whose models do occupy memory.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from ollama_server import OllamaServer

import plugway_demo_model
from plugway.testing import ScriptedUpstream, anthropic_stream, sse
from plugway_mlx._installed import missing_engine
from tests.limited import MIB, Server, control_group, in_group, killed

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

LIMIT = 440 * MIB
"""For the gateway (50 MiB, 40 in reserve) and one of three models.

They need 261, 308 and 286 MiB by plan; in use are 91, 280 and 288 MiB.
"""
CONFIG = """
server: {port: PORT, token: {$env: PLUGWAY_TOKEN}}
plugins:
  - use: memory
    options: {reserve: 40 MiB}
  - use: router
    options: {models: {one: [mlx/demo], two: [llama-cpp/a], three: ["ollama/qwen3:8b"]}}
  - use: mlx
    options: {model: demo, context: 4096, slots: 2, preload: false}
  - use: llama-cpp
    options: {model: FOLDER/a.gguf, context: 65536, slots: 32, kv_type: f32, preload: false}
  - use: ollama
    options: {base_url: "OLLAMA"}
"""
HOLDER = """
import sys
kept = bytearray(b"x") * int(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
LONG = "The quick brown fox jumps over the lazy dog. " * 40
TEXTS = [f"Question 0: {LONG}", "Question 1", "Question 2", "Question 3"]
STEPS = [
    ("one", "mlx", "demo"),
    ("two", "llama-cpp", "a"),
    ("three", "ollama", "qwen3:8b"),
    ("one", "mlx", "demo"),
]


class HeavyOllama(OllamaServer):
    """Each loaded model is a process in the control group; it is loaded by the first request."""

    def __init__(self, group, size):
        super().__init__()
        self.group, self.size = group, size
        self.holders, self.messages = {}, []

    def hold(self, name, **entry):
        if name not in self.holders:
            command = (sys.executable, "-S", "-c", HOLDER, str(self.size))
            holder = in_group(self.group, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.holders[name] = holder
            assert holder.stdout.readline() == "held\n"
        used = psutil.Process(self.holders[name].pid).memory_info().rss
        super().hold(name, size=used, **entry)

    def __call__(self, request):
        if request.path == "/v1/messages":
            self.messages.append(request)
            self.hold(request.json["model"])
        answer = super().__call__(request)
        for name in self.holders.keys() - self.memory.keys():
            self.release(name)
        return answer

    def release(self, name):
        self.holders.pop(name).communicate(timeout=20)


@pytest.fixture
async def machine():
    """The control group, the gateway in it, and the Ollama beside it."""
    if missing := missing_engine():
        pytest.skip(missing)
    folder = Path(tempfile.mkdtemp())  # paths of sockets have to be short
    shutil.copy(plugway_demo_model.model_path(), folder / "a.gguf")
    with control_group(LIMIT) as group:
        ollama = HeavyOllama(group, 280 * MIB)
        ollama.have("qwen3:8b", size=30 * MIB, shape={})
        ollama.stream = sse(anthropic_stream("Hello from Ollama."))
        try:
            async with ScriptedUpstream(otherwise=ollama) as upstream:
                server = Server(group, folder, CONFIG.replace("OLLAMA", upstream.url))
                try:
                    await server.ready()
                    yield group, server, ollama
                finally:
                    await server.aclose()
        finally:
            for name in list(ollama.holders):
                ollama.release(name)
            shutil.rmtree(folder)


async def test_a_conversation_moves_between_engines_that_do_not_fit_together(machine):
    group, server, ollama = machine
    messages, story, last = [], [], ""
    for number, (model, owner, name) in enumerate(STEPS):
        messages.append({"role": "user", "content": TEXTS[number]})
        said, usage = await server.say(model, messages, session="s")
        assert said
        messages.append({"role": "assistant", "content": said})

        seen = await server.memory()
        (held,) = seen["models"]
        assert (held["instance"], held["model"], held["state"]) == (owner, name, "ready")
        assert list(ollama.holders) == ([name] if owner == "ollama" else [])
        assert (seen["total"], killed(group)) == (LIMIT, 0)
        if last:
            story.append(f"unloaded {last} for `{owner}/{name}`")
        decisions = [without_time(decision["what"]) for decision in seen["decisions"]]
        assert decisions == story

        size = f"{held['needs_bytes'] / MIB:,.0f} MiB"
        heading, row, memory, *told = (await server.models("ps")).split("\n")
        assert heading.split() == ["instance", "model", "state", "pid", "requests", "needs", "idle"]
        assert row.split()[:3] == [owner, name, "ready"]
        assert size in row
        assert ("-" in row.split()) is (owner == "ollama"), "its process is not ours"
        assert memory.startswith(f"memory: {LIMIT // MIB} MiB total, ")
        assert [without_time(line.partition(" ago: ")[2]) for line in told if line] == story
        last = f"`{owner}/{name}` ({size})"

    assert len(story) == 3
    assert usage["cache_read_input_tokens"] > 500, "MLX kept its state on disk"
    assert messages[5]["content"] == "Hello from Ollama."
    (asked,) = [request.json for request in ollama.messages]
    assert asked["messages"] == messages[:5]
    assert not ollama.wrong


def without_time(decision):
    return re.sub(r", idle for \d+ s\)", ")", decision)
