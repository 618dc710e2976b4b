"""What a llama-server on this machine holds, loading and unloading: a router, or one model.

The scripted router follows "Using multiple models" in `tools/server/README.md` of llama.cpp and
`get_router_models`, `post_router_models_load` and `post_router_models_unload` of its
`server-models.cpp`; `tests/e2e/test_llama_server.py` does the same with the real one.
"""

from __future__ import annotations

import json
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from plugway import BackendError, Loads, RequestRejected
from plugway.testing import (
    ERRORS,
    Hold,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_llama_server import LlamaServer
from plugway_local_models import HoldsModels

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MIB = 2**20


def refusal(status, kind, message):
    return respond(status, {"error": {"code": status, "message": message, "type": kind}})


class Router:
    """A router; a load takes `steps` lists of its models, an unload one."""

    def __init__(self):
        self.models = {}
        self.wrong = []
        self.deaf = False
        self.old = False
        self.breaks = False
        self.moving = {}

    def have(self, name, state="unloaded", size=100 * MIB, file="", aliases=()):
        arguments = ["llama-server", "--ctx-size", "8192", *(["--model", file] if file else [])]
        entry = {"id": name, "aliases": list(aliases), "object": "model", "owned_by": "llamacpp"}
        status = {"value": state, "args": arguments}
        self.models[name] = ({**entry, "status": status}, {"size": size, "n_ctx": 4096})

    def __call__(self, request):
        place = (request.method, request.path)
        if place == ("GET", "/v1/models"):
            return respond(200, {"object": "list", "data": self.listed()})
        body = json.loads(request.body) if request.body else {}
        if place == ("POST", "/v1/messages"):
            return respond(200, anthropic_message("Hello.", model=body["model"]))
        commands = {("POST", "/models/load"): self.load, ("POST", "/models/unload"): self.unload}
        if place not in commands or set(body) != {"model"} or type(body["model"]) is not str:
            self.wrong.append((place, body))
            return refusal(404, "not_found_error", "File Not Found")
        if self.old:
            return refusal(404, "not_found_error", "File Not Found")
        return commands[place](body["model"])

    def listed(self):
        shown = []
        for name, (entry, meta) in self.models.items():
            running = entry["status"]["value"] in ("loaded", "sleeping")
            shown.append(json.loads(json.dumps({**entry, **({"meta": meta} if running else {})})))
            if name in self.moving:
                entry["status"] |= self.moving.pop(name)
        return shown

    def load(self, name):
        status = self.models[name][0]["status"]
        if status["value"] != "unloaded":
            return refusal(400, "invalid_request_error", "model is already running")
        failed = {"value": "unloaded", "failed": True, "exit_code": 1}
        status["value"], self.moving[name] = (
            "loading",
            failed if self.breaks else {"value": "loaded"},
        )
        return respond(200, {"success": True})

    def unload(self, name):
        if name not in self.models:
            return refusal(400, "invalid_request_error", "model is not found")
        if self.models[name][0]["status"]["value"] == "unloaded":
            return refusal(400, "invalid_request_error", "model is not running")
        if not self.deaf:
            self.moving[name] = {"value": "unloaded"}
        return respond(200, {"success": True})


@pytest.fixture
async def server():
    state = Router()
    async with ScriptedUpstream(otherwise=state) as found:
        found.router = state
        yield found
    assert not state.wrong


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Whether a GPU has memory of its own; not on this machine, whatever it has."""
    answer = [False]
    monkeypatch.setattr("plugway_llama_server._here.has_gpu_memory", lambda: answer[0])
    return answer


@pytest.fixture
async def backend(server):
    async with build_plugin(LlamaServer, "llama", base_url=server.url).backend as found:
        yield found


def commands(server):
    return [(r.path, r.json) for r in server.requests if r.method == "POST"]


def states(models):
    return {model.model: model.state for model in models}


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({}, True),
        ({"base_url": "http://[::1]:8080"}, True),
        ({"base_url": "http://192.168.1.5:8080", "zone": "local"}, False),
        ({"zone": "gpu-box"}, False),
    ],
)
def test_only_a_server_on_this_machine_claims_its_memory(options, holds):
    found = build_plugin(LlamaServer, "llama", **options).backend
    assert isinstance(found, HoldsModels) is holds
    assert isinstance(found, Loads)


# ── a router ──────────────────────────────────────────────────────────────────────────────────


async def test_a_router_holds_what_is_loaded_or_loading(server, backend):
    for state in ("loaded", "loading", "unloaded", "sleeping", "downloading", "new-state"):
        server.router.have(f"is-{state}", state)
    found = await backend.loaded()
    assert states(found) == {"is-loaded": "loaded", "is-loading": "loading"}
    assert [(m.size, m.context_tokens, m.kept) for m in found] == [
        (100 * MIB, 4096, ""),
        (0, 8192, ""),
    ]


@pytest.mark.parametrize("size", [0, -5, None, "9", True])
async def test_a_size_that_is_none_is_unknown(server, backend, size):
    server.router.have("m", "loaded", size=size)
    (model,) = await backend.loaded()
    assert model.size == 0
    assert await backend.needs("m") == 0


async def test_what_may_be_in_a_gpus_memory_is_not_claimed(server, backend, gpu, tmp_path):
    gpu[0] = True
    (tmp_path / "m.gguf").write_bytes(bytes(10))
    server.router.have("m", "loaded", file=str(tmp_path / "m.gguf"))
    (model,) = await backend.loaded()
    assert (model.size, await backend.needs("m")) == (0, 0)


@pytest.mark.parametrize(
    ("file", "size"),
    [
        ("whole.gguf", 10),
        ("big-00001-of-00002.gguf", 7),
        ("[odd].gguf", 1),
        ("gone.gguf", 0),
        ("", 0),
    ],
)
async def test_an_unloaded_model_needs_what_its_files_have(server, backend, tmp_path, file, size):
    sizes = {"whole.gguf": 10, "big-00001-of-00002.gguf": 3, "big-00002-of-00002.gguf": 4}
    for name, length in (sizes | {"big-00001-of-00009.gguf": 100, "[odd].gguf": 1}).items():
        (tmp_path / name).write_bytes(bytes(length))
    server.router.have("m", file=str(tmp_path / file) if file else "relative.gguf")
    assert await backend.needs("m") == size


@pytest.mark.parametrize(
    "arguments",
    [
        *(None, "text", 7, [["--model"], "/x"], [{}, {}], ["--model"], ["--model", None]),
        *(["--model", "/"], ["--model", "/."], ["-m", "/x\0y"], ["-m", "/" + "x" * 5_000]),
        *(["-c", "\u00b2"], ["-c", "9" * 5_000], ["-c", "-1"], ["-c", True], ["-c", [8]], ["-c"]),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_arguments_of_any_form_state_nothing(server, backend, arguments):
    server.router.have("m")
    server.router.models["m"][0]["status"]["args"] = arguments
    assert await backend.needs("m") == 0
    assert [model.context_tokens for model in await backend.models()] == [0]
    server.router.models["m"][0]["status"]["value"] = "loading"
    assert [model.context_tokens for model in await backend.loaded()] == [0]


async def test_the_size_is_remembered_when_a_model_is_unloaded(server, backend):
    server.router.have("m", "loaded")
    await backend.loaded()
    assert await backend.unload("m") is True
    assert await backend.needs("m") == 100 * MIB
    assert await backend.loaded() == []


async def test_a_model_is_loaded_and_unloaded_and_both_are_waited_for(server, backend):
    server.router.have("m")
    await backend.load("m")
    assert states(await backend.loaded()) == {"m": "loaded"}
    await backend.load("m")
    assert await backend.unload("m") is True
    assert await backend.unload("m") is False
    wanted = {"model": "m"}
    assert commands(server) == [("/models/load", wanted), ("/models/unload", wanted)]


async def test_a_load_by_somebody_else_is_joined(server, backend):
    server.router.have("m", "loading")
    server.router.moving["m"] = {"value": "loaded"}
    await backend.load("m")
    assert commands(server) == []


async def test_an_alias_is_the_model(server, backend):
    server.router.have("m", aliases=["gpt-4", 5])
    assert await backend.name_of("gpt-4") == "m"
    await backend.load("gpt-4")
    assert await backend.unload("gpt-4") is True
    assert await backend.name_of("unknown") == "unknown"


async def test_a_load_that_fails_is_an_error_and_may_be_tried_again(server, backend):
    server.router.have("m")
    server.router.breaks = True
    with pytest.raises(BackendError, match="could not load `m`; its log says why"):
        await backend.load("m")
    server.router.breaks = False
    await backend.load("m")
    assert states(await backend.loaded()) == {"m": "loaded"}


async def test_a_model_that_the_router_does_not_have(server, backend):
    server.router.have("m")
    assert await backend.unload("missing") is False
    for asked in (backend.load, backend.needs):
        with pytest.raises(RequestRejected, match="lists no model `missing`") as refused:
            await asked("missing")
        assert refused.value.status == 404


async def test_an_unload_that_is_accepted_and_not_done_is_an_error(server, backend, monkeypatch):
    monkeypatch.setattr("plugway_llama_server._backend.UNLOAD_SECONDS", 0.2)
    server.router.have("m", "loaded")
    server.router.deaf = True
    with pytest.raises(BackendError, match=r"still lists it as loaded after 0.2 s"):
        await backend.unload("m")


async def test_a_model_that_goes_while_it_is_being_unloaded_is_unloaded(server, backend):
    server.router.have("m", "loaded")
    server.router.moving["m"] = {"value": "unloaded"}
    assert await backend.unload("m") is True


@pytest.mark.parametrize(("state", "asked"), [("loaded", "unload"), ("unloaded", "load")])
async def test_a_router_without_the_endpoints_says_so(server, backend, state, asked):
    server.router.have("m", state)
    server.router.old = True
    with pytest.raises(BackendError, match=f"no `POST /models/{asked}`; update it"):
        await getattr(backend, asked)("m")


async def test_requests_count_for_the_model_and_its_aliases(server):
    plugin = build_plugin(LlamaServer, "llama", base_url=server.url)
    server.router.have("m", "loaded", aliases=["gpt-4"])
    async with gateway([plugin]) as running:
        await plugin.backend.loaded()
        assert (await running.post(request_body(model="gpt-4"))).status_code == 200
        (model,) = await plugin.backend.loaded()
    assert model.requests == 0
    assert model.idle_seconds >= 0


# ── one model ─────────────────────────────────────────────────────────────────────────────────

ONE = {
    "object": "list",
    "data": [{"id": "tiny.gguf", "object": "model", "meta": {"n_ctx": 4096, "size": 5 * MIB}}],
}


class OneModel:
    """A server of one model."""

    def __init__(self):
        self.loading = False
        self.props = respond(200, {"is_sleeping": False})

    def __call__(self, request):
        if self.loading:
            return ERRORS["llamacpp.loading"].script()
        places = {"/v1/models": respond(200, ONE), "/props": self.props}
        assert request.method == "GET"
        return places[request.path]


@pytest.fixture
async def single():
    state = OneModel()
    async with (
        ScriptedUpstream(otherwise=state) as found,
        build_plugin(LlamaServer, "llama", base_url=found.url).backend as backend,
    ):
        yield state, backend


async def test_a_server_of_one_model_keeps_it_and_says_why(single):
    _, backend = single
    (model,) = await backend.loaded()
    assert (model.model, model.size, model.context_tokens) == ("tiny.gguf", 5 * MIB, 4096)
    assert "start it as a router" in model.kept
    for name in ("tiny.gguf", "any"):
        assert await backend.unload(name) is False
        assert await backend.name_of(name) == "tiny.gguf"
        assert await backend.needs(name) == 5 * MIB
        await backend.load(name)


async def test_a_model_that_sleeps_takes_no_memory(single):
    state, backend = single
    state.props = respond(200, {"is_sleeping": True})
    assert await backend.loaded() == []
    state.props = respond(501, {"error": "disabled"})
    assert states(await backend.loaded()) == {"tiny.gguf": "loaded"}


async def test_while_it_loads_its_model_is_loading_once_it_is_known(single):
    state, backend = single
    state.loading = True
    with pytest.raises(BackendError, match="Loading model"):
        await backend.loaded()
    state.loading = False
    await backend.loaded()
    state.loading = True
    assert states(await backend.loaded()) == {"tiny.gguf": "loading"}
    async with anyio.create_task_group() as group:
        group.start_soon(backend.load, "any")
        await anyio.lowlevel.checkpoint()
        state.loading = False


# ── servers that answer something else ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        respond(404, b"not found", {"content-type": "text/plain"}),
        respond(200, b"<html>Login</html>", {"content-type": "text/html"}),
        respond(500, {"error": "boom"}),
        [Hold()],
    ],
    ids=["another server", "html", "an error", "slow"],
)
async def test_a_list_that_cannot_be_read_is_an_error(server, backend, monkeypatch, answer):
    briefly = partial(backend.upstream.fetch_json, seconds=0.2)
    monkeypatch.setattr(backend.upstream, "fetch_json", briefly)
    server.script(answer, answer, answer)
    for asked in (backend.loaded(), backend.unload("m"), backend.needs("m")):
        with pytest.raises(BackendError):
            await asked


async def test_a_server_that_is_down_is_an_error():
    plugin = build_plugin(LlamaServer, "llama", base_url="http://127.0.0.1:9")
    async with plugin.backend as backend:
        for asked in (backend.loaded(), backend.unload("m"), backend.needs("m"), backend.load("m")):
            with pytest.raises(BackendError):
                await asked
