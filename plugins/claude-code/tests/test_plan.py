"""With nothing configured: what is there is found, planned, and tried before it is kept."""

import io
import json
import socket

import anyio
import pytest
import yaml
from rich.console import Console

from plugway import LocalGateway, PlugwayError
from plugway.cli.main import main
from plugway.testing import ScriptedUpstream, anthropic_message, anthropic_stream, respond, sse
from plugway_claude_code import _daemon, _first_run
from plugway_claude_code._detect import (
    GIB,
    Findings,
    Machine,
    Model,
    Source,
    detect,
    installed_plugins,
)
from plugway_claude_code._plan import candidates, config_text, found_table, plan_table

NOWHERE = dict.fromkeys(("ollama", "lmstudio", "llama-server", "vllm", "openai-compatible"), 9)
MACHINE = Machine(32 * GIB, 24 * GIB, 0)

ANSWERS = {
    "ollama": {
        "/api/tags": {
            "models": [
                {"name": "qwen3-coder:30b", "size": 18 * GIB},
                {"name": "nomic-embed-text", "size": 1},
                {"name": "glm-4.7:cloud", "size": 0},
            ]
        },
        "/api/ps": {"models": [{"name": "qwen3-coder:30b", "context_length": 65536}]},
    },
    "lmstudio": {
        "/api/v0/models": {
            "data": [
                {"id": "gpt-oss-20b", "state": "loaded", "loaded_context_length": 32768},
                {"id": "embed", "type": "embeddings"},
            ]
        }
    },
    "llama-server": {
        "/props": {"default_generation_settings": {"n_ctx": 16384}},
        "/v1/models": {"data": [{"id": "some.gguf"}]},
    },
    "vllm": {
        "/v1/models": {"data": [{"id": "glm", "owned_by": "vllm", "max_model_len": 131072}]},
    },
    "openai-compatible": {"/health": {"status": "ok"}},
}


def server(pages):
    def answer(request):
        path = request.path.partition("?")[0]
        lines = {"server": "BaseHTTP/0.6 Python/3.11.7"} if path == "/health" else {}
        return respond(200, pages[path], lines) if path in pages else respond(404, {"error": "no"})

    return ScriptedUpstream(otherwise=answer)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("ollama", Model("qwen3-coder:30b", 18 * GIB, 65536, True)),
        ("lmstudio", Model("gpt-oss-20b", 0, 32768, True)),
        ("llama-server", Model("some.gguf", 0, 16384, True)),
        ("vllm", Model("glm", 0, 131072, True)),
        ("openai-compatible", Model("default_model", 0, 0, True)),
    ],
)
@pytest.mark.anyio
async def test_each_server_is_known_by_what_it_answers(home, kind, model):
    async with server(ANSWERS[kind]) as running:
        ports = {**NOWHERE, kind: running.port}
        found = await anyio.to_thread.run_sync(detect, {}, ports)
    (source,) = found.servers
    assert (source.plugin, source.models) == (kind, (model,))
    assert source.options["base_url"].startswith(running.url)


@pytest.mark.anyio
async def test_what_answers_something_else_is_no_model_server(home):
    for pages in ({}, {"/v1/models": []}, {"/api/tags": "x", "/props": 3}):
        async with server(pages) as running:
            ports = dict.fromkeys(NOWHERE, running.port)
            found = await anyio.to_thread.run_sync(detect, {}, ports)
        assert not any(source.models for source in found.servers)


def test_keys_are_known_by_name_and_their_values_go_nowhere(home):
    found = detect({"ANTHROPIC_API_KEY": "sk-canary-value", "OPENAI_API_KEY": ""}, NOWHERE)
    assert [source.address for source in found.keys] == ["ANTHROPIC_API_KEY"]
    assert "sk-canary-value" not in repr(found)
    assert found.machine.ram > GIB


def test_model_files_are_found_in_the_data_folder(home):
    folder = home / ".local/share/plugway/models/org"
    folder.mkdir(parents=True)
    for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.gguf"):
        (folder / name).write_bytes(b"GGUF")
    found = detect({}, NOWHERE)
    assert [m.name for m in found.files.models] == ["org/a-00001-of-00002.gguf", "org/b.gguf"]


def ollama(*models):
    return Source("ollama", "Ollama", "http://127.0.0.1:11434", models)


KEY = Source(
    "anthropic",
    "Anthropic",
    "ANTHROPIC_API_KEY",
    (Model("claude-sonnet-4-5"),),
    {"api_key": {"$env": "X"}},
)


def targets(found, **more):
    options = {"allow_keys": False, **more}
    return [candidate.target for candidate in candidates(found, **options)]


def test_what_is_loaded_comes_first_then_coders_then_size_and_what_does_not_fit_not_at_all():
    found = Findings(
        (
            ollama(
                Model("llama3:8b", 5 * GIB),
                Model("qwen3-coder:30b", 18 * GIB),
                Model("mistral:7b", 4 * GIB, loaded=True),
                Model("llama3:405b", 200 * GIB),
            ),
        ),
        None,
        (),
        MACHINE,
    )
    assert targets(found) == [
        "ollama/mistral:7b",
        "ollama/qwen3-coder:30b",
        "ollama/llama3:8b",
        "local/demo",
    ]


def test_keys_are_used_only_by_consent_and_after_what_is_here():
    found = Findings((ollama(Model("m", 1)),), None, (KEY,), MACHINE)
    assert targets(found) == ["ollama/m", "local/demo"]
    assert targets(found, allow_keys=True)[1].startswith("anthropic/claude-")


@pytest.mark.parametrize("index", [0, 1])
def test_the_written_configuration_is_valid(home, index, monkeypatch, capsys):
    mlx = Source("ollama", "Ollama", "x", (Model("b", 1),), {"base_url": "http://127.0.0.1:11500"})
    found = Findings((mlx,), None, (KEY,), MACHINE)
    ranked = candidates(found, allow_keys=True)
    text = config_text(ranked[index], ranked)
    entries = {entry["use"]: entry for entry in yaml.safe_load(text)["plugins"]}
    assert entries["router"]["options"]["models"] == {"*": [ranked[index].target]}
    assert entries["ollama"]["options"]["base_url"] == "http://127.0.0.1:11500"
    assert ("anthropic" in entries) == (index == 1)
    assert {"gemini-api", "openai-api"} <= set(entries)
    path = home / "planned.yaml"
    path.write_text(text)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("X", "sk-0123456789")
    with pytest.raises(SystemExit) as ended:
        main(["check", "--config", str(path)])
    assert not ended.value.code, capsys.readouterr().err


def test_the_tables_name_what_was_found_and_the_one_plan(home):
    found = Findings((ollama(Model("m", 2 * GIB, 65536)),), None, (KEY,), MACHINE)
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(found_table(found))
    console.print(plan_table(found, candidates(found, allow_keys=False), home / "c.yaml"))
    for words in ("Ollama", "ANTHROPIC_API_KEY", "32 GiB", "ollama/m", "65,536 tokens", "c.yaml"):
        assert words in out.getvalue()


@pytest.mark.anyio
async def test_a_model_without_tools_is_said_to_have_none_and_left_out(home):
    able = {
        "calls:1b": ["completion", "tools"],
        "talks:1b": ["completion", "vision"],
        "old:1b": None,
    }

    def answer(request):
        if request.path == "/api/show":
            known = able[request.json["model"]]
            return respond(200, {} if known is None else {"capabilities": known})
        pages = {"/api/tags": {"models": [{"name": n, "size": GIB} for n in able]}, "/api/ps": {}}
        return respond(200, pages[request.path])

    async with ScriptedUpstream(otherwise=answer) as running:
        ports = {**NOWHERE, "ollama": running.port}
        found = await anyio.to_thread.run_sync(detect, {}, ports)
    found = Findings(found.servers, None, (), MACHINE)
    ranked = candidates(found, allow_keys=False)
    tried = ["ollama/calls:1b", "ollama/old:1b", "local/demo"]
    assert [candidate.target for candidate in ranked] == tried
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(found_table(found))
    console.print(plan_table(found, ranked, home / "c.yaml"))
    above, _, below = out.getvalue().partition("left out")
    assert "talks:1b (no tools)" in above
    assert "talks:1b (no tools): an agent needs a model that calls tools" in below
    assert "old:1b (no tools)" not in out.getvalue()


# ── the proof ──────────────────────────────────────────────────────────────────────────────────

CALL = [("note_city", {"city": "Paris"})]


def speaking(calls_tools):
    """Ollama as far as a proof needs it, with a model that can or cannot call tools."""
    tags = {"models": [{"name": name, "size": 1, "details": {}} for name in ("one", "two")]}
    pages = {"/api/tags": tags, "/api/ps": {"models": []}}

    def answer(request):
        path = request.path.partition("?")[0]
        if path in pages:
            return respond(200, pages[path])
        body = json.loads(request.body or b"{}")
        if path != "/v1/messages":
            return respond(200, {"model_info": {"x.context_length": 65536}, "capabilities": []})
        able = "tools" in body and body["model"].startswith(tuple(calls_tools))
        if body.get("stream"):
            return sse(anthropic_stream("ready", tool_calls=CALL if able else ()))
        return respond(200, anthropic_message("ready"))

    return ScriptedUpstream(otherwise=answer)


@pytest.fixture
def unconfigured(home, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gateway = LocalGateway.find(None, port)
    yield gateway
    _daemon.stop(gateway)


async def prove(unconfigured, monkeypatch, calls_tools, demo):
    plugins = installed_plugins() - (frozenset() if demo else {"llama-cpp"})
    monkeypatch.setattr("plugway_claude_code._plan.installed_plugins", lambda: plugins)
    out = io.StringIO()
    console = Console(file=out, width=200)
    async with speaking(calls_tools) as running:
        ports = {**NOWHERE, "ollama": running.port}
        monkeypatch.setattr(_first_run, "detect", lambda: detect({}, ports))
        try:
            await anyio.to_thread.run_sync(
                lambda: _first_run.first_plan(unconfigured, console, yes=False, keep=False)
            )
        except PlugwayError as error:
            return out.getvalue(), error
    return out.getvalue(), None


@pytest.mark.anyio
async def test_the_first_model_that_answers_and_calls_a_tool_is_kept(unconfigured, monkeypatch):
    told, error = await prove(unconfigured, monkeypatch, {"two"}, demo=False)
    assert error is None, told
    assert "it replied 'ready'" in told
    assert "called the tool with valid arguments" in told
    written = yaml.safe_load(unconfigured.config_path.read_text())
    router = next(entry for entry in written["plugins"] if entry["use"] == "router")
    assert router["options"]["models"] == {"*": ["ollama/two"]}


@pytest.mark.anyio
async def test_where_no_model_works_nothing_is_kept_and_every_reason_is_told(
    unconfigured, monkeypatch
):
    _, error = await prove(unconfigured, monkeypatch, set(), demo=False)
    assert str(error).count("should have called a tool") == 2
    assert not unconfigured.config_path.exists()
    assert unconfigured.state() is None
