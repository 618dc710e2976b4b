"""What an Ollama on this machine has loaded, what a model needs, loading and unloading."""

from __future__ import annotations

import tempfile

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from ollama_server import GIB, SHAPE, OllamaServer

from plugway import BackendError, Loads, RequestRejected
from plugway.testing import (
    Hold,
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_local_models import HoldsModels
from plugway_local_models._control import ask_gateways
from plugway_ollama import Ollama

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
async def server():
    state = OllamaServer()
    async with ScriptedUpstream(otherwise=state) as found:
        found.ollama = state
        yield found
    assert not state.wrong


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Whether a GPU has memory of its own; not on this machine, whatever it has."""
    answer = [False]
    monkeypatch.setattr("plugway_ollama._here.has_gpu_memory", lambda: answer[0])
    return answer


@pytest.fixture
async def backend(server):
    async with build_plugin(Ollama, "ollama", base_url=server.url).backend as found:
        yield found


def paths(server):
    return [request.path for request in server.requests]


# ── who takes part ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({}, True),
        ({"base_url": "http://localhost:1"}, True),
        ({"base_url": "http://[::1]:1"}, True),
        ({"base_url": "http://192.168.1.5:11434"}, False),
        ({"base_url": "http://192.168.1.5:11434", "zone": "local"}, False),
        ({"zone": "gpu-box"}, False),
        ({"cloud_models": True}, False),
        ({"cloud_models": True, "zone": "local"}, True),
    ],
)
def test_only_a_server_on_this_machine_claims_its_memory(options, holds):
    found = build_plugin(Ollama, "ollama", **options).backend
    assert isinstance(found, HoldsModels) is holds
    assert isinstance(found, Loads), "it loads and unloads wherever it is"


# ── loaded ────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_that_somebody_else_loaded_is_seen(server, backend):
    server.ollama.hold("mistral:latest", size=5_137_025_024, context=8192)
    (model,) = await backend.loaded()
    assert (model.model, model.size, model.context_tokens) == ("mistral:latest", 5137025024, 8192)
    assert (model.requests, model.idle_seconds, model.state) == (0, None, "loaded")


@pytest.mark.parametrize(
    ("has_gpu", "vram", "size"),
    [(False, 5 * GIB, 5 * GIB), (True, 0, 5 * GIB), (True, 3 * GIB, 2 * GIB), (True, 5 * GIB, 0)],
    ids=["one memory", "on the CPU", "in part", "on the GPU"],
)
async def test_memory_of_a_gpu_is_not_this_machines(server, backend, gpu, has_gpu, vram, size):
    gpu[0] = has_gpu
    server.ollama.have("m:8b")
    server.ollama.hold("m:8b", vram=vram)
    assert [model.size for model in await backend.loaded()] == [size]
    assert await backend.needs("m:8b") == size, "what was seen counts"


@pytest.mark.parametrize("size", [0, -1, None, "5", True, 1.5])
async def test_a_size_that_is_none_is_unknown(server, backend, size):
    server.ollama.have("m:8b", size=GIB, shape={})
    server.ollama.hold("m:8b", size=size, vram=size, context=size)
    (model,) = await backend.loaded()
    assert (model.size, model.context_tokens) == (0, 0)
    assert await backend.needs("m:8b") > GIB


@pytest.mark.parametrize(
    "parameters",
    [
        *("num_ctx \u00b2", f"num_ctx {'9' * 5_000}", "num_ctx -1", "num_ctx 1e3", "num_ctx"),
        None,
        7,
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_parameters_of_any_form_state_no_window(server, backend, parameters):
    server.ollama.have("m:8b", parameters=parameters)
    assert await backend.needs("m:8b") > 4 * GIB
    assert [model.context_tokens for model in await backend.models()] == [4096]


@pytest.mark.parametrize("odd", [[], {}, "8", -8, 0, True, None, 1.5, 1 << 63], ids=repr)
async def test_a_shape_of_any_form_is_no_failure(server, backend, odd):
    for key in [key for key in SHAPE if key != "general.architecture"]:
        server.ollama.have("m:8b", shape=SHAPE | {key: odd})
        assert await backend.needs("m:8b") >= 4 * GIB


async def test_requests_count_under_the_name_that_is_loaded(server):
    plugin = build_plugin(Ollama, "ollama", base_url=server.url)
    server.ollama.have("qwen3:latest")
    server.ollama.hold("qwen3:latest")
    server.ollama.hold("other:1b")
    go, events = anyio.Event(), anthropic_stream()
    async with gateway([plugin]) as running:
        server.ollama.stream = sse([*events[:3], WaitFor(go), *events[3:]])
        body = request_body(model="Qwen3", stream=True)
        async with running.client.stream("POST", "/v1/messages", json=body) as stream:
            pieces = stream.aiter_bytes()
            await anext(pieces)
            found = {model.model: model for model in await plugin.backend.loaded()}
            assert found["qwen3:latest"].requests == 1
            assert found["qwen3:latest"].idle_seconds == 0
            assert found["other:1b"].requests == 0
            go.set()
        assert (await running.post(request_body(model="qwen3"))).status_code == 200
        (model, _) = await plugin.backend.loaded()
    assert model.requests == 0
    assert model.idle_seconds >= 0


async def test_use_by_another_client_shows_in_the_expiry(server, backend):
    server.ollama.hold("m:8b", expires_at="2026-11-29T14:38:31-07:00")
    server.ollama.hold("idle:8b")
    for _ in range(2):
        assert [model.idle_seconds for model in await backend.loaded()] == [None, None]
    server.ollama.hold("m:8b", expires_at="2026-11-29T14:43:31-07:00")
    used, idle = await backend.loaded()
    assert (used.idle_seconds, idle.idle_seconds) == (0, None)
    used, _ = await backend.loaded()
    assert used.idle_seconds > 0


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("qwen3", "qwen3:latest"),
        ("qwen3:latest", "qwen3:latest"),
        ("library/qwen3:8b", "qwen3:8b"),
        ("registry.ollama.ai/library/qwen3", "qwen3:latest"),
        ("hf.co/a/b:Q4_K_M", "hf.co/a/b:Q4_K_M"),
        ("me/qwen3", "me/qwen3:latest"),
    ],
)
async def test_a_model_is_found_by_each_of_its_names(server, backend, name, listed):
    server.ollama.have(listed)
    server.ollama.hold(listed)
    server.ollama.hold("qwen3:0.6b")
    server.ollama.have("qwen3:0.6b")
    assert await backend.name_of(name) == listed
    assert await backend.needs(listed) > 0
    # Ollama resolves the other names in the same way; the server here knows only the short one.
    assert await backend.unload(name) is True
    assert list(server.ollama.memory) == ["qwen3:0.6b"]


async def test_variants_with_another_window_count_as_their_model(server):
    plugin = build_plugin(Ollama, "ollama", base_url=server.url, context_tokens=32_768)
    names = ("qwen3:8b", "qwen3:8b-ctx32768", "qwen3:8b-ctx8192", "odd-ctx7:latest")
    for name in names:
        server.ollama.have(name)
        server.ollama.hold(name, size=GIB, context=8192 if name.endswith("8192") else 32_768)
    async with plugin.backend as backend:
        found = {model.model: model for model in await backend.loaded()}
        assert set(found) == {"qwen3:8b", "odd-ctx7:latest"}
        assert (found["qwen3:8b"].size, found["qwen3:8b"].context_tokens) == (3 * GIB, 8192)
        assert await backend.name_of("qwen3:8b-ctx8192") == "qwen3:8b"
        assert await backend.unload("qwen3:8b") is True
    assert list(server.ollama.memory) == ["odd-ctx7:latest"]


@pytest.mark.parametrize(
    "answer",
    [
        respond(404, b"404 page not found", {"content-type": "text/plain"}),
        respond(200, b"<html>Login</html>", {"content-type": "text/html"}),
        respond(200, {"error": "unknown"}),
        respond(200, {"models": None}),
        respond(200, []),
        respond(500, {"error": "boom"}),
        [Hold()],
    ],
    ids=["old", "html", "another server", "null", "a list", "an error", "slow"],
)
async def test_a_list_that_cannot_be_read_is_an_error_and_not_an_empty_memory(
    server, backend, monkeypatch, answer
):
    fetch = backend.upstream.fetch_json

    async def briefly(path, *, body=None, headers=(), seconds=0.0):
        return await fetch(path, body=body, headers=headers, seconds=0.2)

    monkeypatch.setattr(backend.upstream, "fetch_json", briefly)
    server.script(answer, answer)
    with pytest.raises(BackendError):
        await backend.loaded()
    with pytest.raises(BackendError):
        await backend.unload("m")
    assert set(paths(server)) == {"/api/ps"}


async def test_a_server_that_is_down_is_an_error():
    async with build_plugin(Ollama, "ollama", base_url="http://127.0.0.1:9").backend as backend:
        for asked in (backend.loaded(), backend.needs("m"), backend.unload("m"), backend.load("m")):
            with pytest.raises(BackendError):
                await asked


# ── needs ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "parameters", "tokens"),
    [
        ({}, "", 4096),
        ({}, "num_ctx 16384", 16_384),
        ({"default_context_tokens": 8192}, "", 8192),
        ({"context_tokens": 65_536}, "", 65_536),
        ({"context_tokens": 1_000_000}, "", 131_072),
    ],
)
async def test_a_model_needs_its_weights_and_the_cache_of_its_window(
    server, options, parameters, tokens
):
    server.ollama.have("m:8b", parameters=parameters)
    async with build_plugin(Ollama, "ollama", base_url=server.url, **options).backend as backend:
        needed = await backend.needs("m:8b")
    assert needed == 4 * GIB + tokens * 128 * 1024 + 256 * 2**20
    assert "/api/create" not in paths(server), "asking makes no variant"


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ({}, 0),
        ({**SHAPE, "llama.attention.head_count_kv": None}, 0),
        ({**SHAPE, "llama.block_count": "32"}, 0),
        (SHAPE | {"llama.attention.key_length": 64, "llama.attention.value_length": 64}, 4096 / 2),
        (SHAPE | {"llama.attention.sliding_window": 1024}, 4096),
        (
            {key.replace("llama", "gemma3"): value for key, value in SHAPE.items()}
            | {"general.architecture": "gemma3", "gemma3.attention.sliding_window": 1024},
            (5 * 4096 + 27 * 1024) / 32,
        ),
    ],
    ids=["nothing", "per layer", "a text", "small heads", "unused window", "sliding window"],
)
async def test_the_cache_follows_from_the_models_shape(server, backend, shape, rows):
    server.ollama.have("m:8b", shape=shape)
    cache = await backend.needs("m:8b") - 4 * GIB - 256 * 2**20
    assert cache == int(rows * 128 * 1024)


async def test_what_a_model_needs_is_unknown_where_a_gpu_may_take_it(server, backend, gpu):
    server.ollama.have("m:8b")
    server.ollama.have("sizeless", size=0)
    gpu[0] = True
    assert await backend.needs("m:8b") == 0
    gpu[0] = False
    assert await backend.needs("m:8b") > 0
    assert await backend.needs("glm-4.7:cloud") == 0


async def test_a_model_that_is_not_there_is_named_with_the_command_that_gets_it(server, backend):
    with pytest.raises(RequestRejected, match="ollama pull missing:8b") as refused:
        await backend.needs("missing:8b")
    assert refused.value.status == 404


# ── load ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_is_loaded_as_requests_load_it(server):
    plugin = build_plugin(Ollama, "ollama", base_url=server.url, context_tokens=32_768)
    server.ollama.have("m:8b")
    async with plugin.backend as backend:
        await backend.load("m:8b")
        (model,) = await backend.loaded()
        assert model.model == "m:8b"
        assert await backend.needs("m:8b") == 5 * GIB
    (asked,) = [r.json for r in server.requests if r.path == "/api/generate"]
    assert asked == {"model": "m:8b-ctx32768", "stream": False}, "Ollama's own keep_alive holds"


async def test_an_embedding_model_is_loaded_without_a_prompt_for_it(server, backend):
    server.ollama.have("nomic:latest", able=["embedding"])
    await backend.load("nomic")
    assert list(server.ollama.memory) == ["nomic:latest"]
    assert await backend.unload("nomic") is True


async def test_a_load_goes_on_when_the_caller_leaves_and_is_joined_by_the_next(server, backend):
    server.ollama.have("m:8b")
    go = anyio.Event()
    server.ollama.generate = [WaitFor(go), *respond(200, {"done": True, "done_reason": "load"})]
    with anyio.move_on_after(1) as waited:
        async with anyio.create_task_group() as group:
            group.start_soon(backend.load, "m:8b")
            while "/api/generate" not in paths(server):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert not waited.cancelled_caught
    assert [(m.model, m.state) for m in await backend.loaded()] == [("m:8b", "loading")]
    async with anyio.create_task_group() as group:
        group.start_soon(backend.load, "m:8b")
        go.set()
    assert paths(server).count("/api/generate") == 1


async def test_a_load_that_fails_is_told_in_ollamas_words(server, backend):
    with pytest.raises(BackendError, match="model 'missing' not found"):
        await backend.load("missing")
    server.ollama.have("m:8b")
    server.ollama.generate = respond(500, {"error": "model requires more system memory (9.1 GiB)"})
    with pytest.raises(BackendError, match="requires more system memory"):
        await backend.load("m:8b")
    with pytest.raises(BackendError, match="never loaded here"):
        await backend.load("glm-4.7:cloud")


# ── unload ────────────────────────────────────────────────────────────────────────────────────


async def test_a_model_that_is_not_loaded_is_left_alone(server, backend):
    server.ollama.have("m:8b")
    server.ollama.hold("other:8b")
    assert await backend.unload("m:8b") is False
    assert await backend.unload("m") is False
    assert "/api/generate" not in paths(server)
    assert list(server.ollama.memory) == ["other:8b"]


async def test_an_unload_that_is_accepted_and_not_done_is_an_error(server, backend, monkeypatch):
    monkeypatch.setattr("plugway_ollama._backend.UNLOAD_SECONDS", 0.1)
    server.ollama.have("m:8b")
    server.ollama.hold("m:8b")
    server.ollama.deaf = True
    with pytest.raises(BackendError, match=r"`m:8b`, and still lists it after 0.1 s"):
        await backend.unload("m:8b")


async def test_an_unload_that_takes_a_moment_is_waited_for(server, backend):
    server.ollama.have("m:8b")
    server.ollama.hold("m:8b")
    held = respond(200, {"models": [server.ollama.memory["m:8b"]]})
    server.script(held, server.ollama, held, held)
    assert await backend.unload("m:8b") is True
    assert paths(server) == ["/api/ps", "/api/generate", "/api/ps", "/api/ps", "/api/ps"]


# ── `plugway models` ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sockets(monkeypatch):
    """A folder with a short name: the path of a socket has at most about 100 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("XDG_STATE_HOME", folder)
        yield


async def command(**asked):
    (answer,) = await anyio.to_thread.run_sync(ask_gateways, asked)
    return answer


async def test_plugway_models_reaches_an_ollama_on_this_machine(server, sockets):
    server.ollama.have("m:8b")
    async with gateway([build_plugin(Ollama, "ollama", base_url=server.url)]):
        loaded = await command(do="load", model="m:8b")
        assert [(row["instance"], row["model"]) for row in loaded["models"]] == [("ollama", "m:8b")]
        (row,) = (await command(do="ps"))["models"]
        assert (row["needs_bytes"], row["context"]) == (5 * GIB, 4096)
        assert await command(do="unload", model="ollama/m:8b") == {"unloaded": True}
        assert (await command(do="ps"))["models"] == []


async def test_a_server_elsewhere_opens_no_socket(sockets):
    plugin = build_plugin(Ollama, "ollama", base_url="http://192.168.1.5:11434")
    async with gateway([plugin]):
        assert await anyio.to_thread.run_sync(ask_gateways, {"do": "ps"}) == []
