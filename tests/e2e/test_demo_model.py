"""A fresh machine: the model that ships with Plugway, used by the real Claude Code."""

import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import build_plugin, gateway
from plugway_llama_cpp import LlamaCpp
from plugway_mlx import Mlx
from plugway_mlx._installed import missing_engine
from plugway_resilience import Resilience
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(1200)]
ENGINES = {"llama-cpp": (LlamaCpp, {"threads": 1}), "mlx": (Mlx, {})}


class Ledger(Plugin[NoOptions]):
    """Keeps the outcome of every exchange."""

    def __init__(self, options, *, name=""):
        super().__init__(options, name=name)
        self.outcomes = []

    @hookimpl
    def finished(self, exchange, outcome):
        self.outcomes.append(outcome)


@pytest.fixture(params=["llama-cpp", pytest.param("mlx", marks=pytest.mark.slow)])
async def session(request, tmp_path):
    plugin, options = ENGINES[request.param]
    if plugin is Mlx and (missing := missing_engine()):
        pytest.skip(missing)
    ledger = build_plugin(Ledger, "ledger")
    model = build_plugin(plugin, "local", model="demo", temperature=0, disk_cache_mib=0, **options)
    async with gateway([ledger, build_plugin(Resilience, "resilience"), model]) as running:
        claude = Claude(tmp_path, running.url, running.token, "anthropic/local/demo")
        yield running, claude, ledger


async def test_it_creates_a_file_and_appends_a_line(session):
    _, claude, ledger = session
    first = await claude.run(
        "-p", "create hello.txt with the text hi", "--permission-mode", "acceptEdits", seconds=500
    )
    path = claude.project / "hello.txt"
    assert path.read_text() == "hi", first.out + first.err
    second = await claude.run(
        "-c", "-p", "now append a line", "--permission-mode", "acceptEdits", seconds=500
    )
    lines = path.read_text().splitlines()
    assert lines[0] == "hi", second.out
    assert len(lines) == 2, second.out
    assert all(outcome.kind == "completed" for outcome in ledger.outcomes)
    usage = ledger.outcomes[-1].usage
    assert usage.cache_read_tokens > 10 * usage.input_tokens, "the second turn reuses the first"


async def test_it_says_what_it_is(session):
    _, claude, _ = session
    said = await claude.run("-p", "what is plugway", seconds=120)
    assert "Plugway is a local gateway" in said.out, said.err


async def test_a_forced_tool_call_is_made(session):
    running, _, _ = session
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    said = await running.ask(
        "the weather in Rome",
        model="anthropic/local/demo",
        tools=[{"name": "weather", "description": "w", "input_schema": schema}],
        tool_choice={"type": "tool", "name": "weather"},
    )
    (call,) = [block for block in said["content"] if block["type"] == "tool_use"]
    assert call["name"] == "weather"
    assert isinstance(call["input"]["city"], str)
