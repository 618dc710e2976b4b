"""What an LM Studio on this machine has loaded, what a model needs, loading and unloading.

The scripted server follows lmstudio.ai/docs/developer/rest: "List your models", "Load a model",
"Unload a model" and "REST API v0". As the real one (issue 618 of lmstudio-ai/lmstudio-bug-tracker),
it answers an unknown endpoint with 200 and an error.
"""

from __future__ import annotations

import json
from functools import partial

import pytest

from plugway import BackendError, Loads, RequestRejected
from plugway.testing import (
    Hold,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_lmstudio import LmStudio
from plugway_local_models import HoldsModels

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

GB = 10**9
FIELDS = {"load": {"model": str, "context_length": int}, "unload": {"instance_id": str}}


def unknown(request):
    return respond(200, {"error": f"Unexpected endpoint or method. ({request.method} ...)"})


class Studio:
    """LM Studio 0.4 with models; a second load of one makes a second instance."""

    def __init__(self):
        self.models = {}
        self.wrong = []
        self.deaf = False
        self.partial = False
        """Has the list, and neither loads nor unloads."""

    def have(self, key, *windows, size=5 * GB, kind="llm", **other):
        self.models[key] = {
            "type": kind,
            "publisher": "qwen",
            "key": key,
            "display_name": key,
            "size_bytes": size,
            "loaded_instances": [],
            "max_context_length": 32_768,
            "format": "gguf",
            **other,
        }
        for window in windows:
            self.start(key, window)

    def start(self, key, window):
        instances = self.models[key]["loaded_instances"]
        name = f"{key}:{len(instances) + 1}" if instances else key
        instances.append({"id": name, "config": {"context_length": window}})
        return name

    def __call__(self, request):
        what = request.path.rpartition("/")[2]
        body = json.loads(request.body) if request.body else {}
        if (request.method, request.path) == ("GET", "/api/v1/models"):
            return respond(200, {"models": list(self.models.values())})
        if (request.method, request.path) == ("POST", "/v1/messages"):
            return respond(200, anthropic_message("Hello.", model=body["model"]))
        if request.method != "POST" or request.path not in {
            "/api/v1/models/load",
            "/api/v1/models/unload",
        }:
            self.wrong.append((request.method, request.path))
            return unknown(request)
        if self.partial:
            return unknown(request)
        fields = FIELDS[what]
        if any(type(value) is not fields.get(name) for name, value in body.items()):
            self.wrong.append((what, body))
            return respond(400, {"error": {"type": "invalid_request", "message": "bad field"}})
        return getattr(self, what)(body)

    def load(self, body):
        key = body["model"].partition("@")[0]
        if self.models[key]["size_bytes"] > 100 * GB:
            error = {"type": "model_load_failed", "message": "insufficient system resources"}
            return respond(500, {"error": error})
        name = self.start(key, body.get("context_length", 4096))
        return respond(200, {"type": "llm", "instance_id": name, "status": "loaded"})

    def unload(self, body):
        name = body["instance_id"]
        for model in self.models.values():
            kept = [item for item in model["loaded_instances"] if item["id"] != name]
            if len(kept) < len(model["loaded_instances"]):
                model["loaded_instances"] = model["loaded_instances"] if self.deaf else kept
                return respond(200, {"instance_id": name})
        return respond(404, {"error": {"type": "model_not_found", "message": "no such instance"}})


@pytest.fixture
async def server():
    state = Studio()
    async with ScriptedUpstream(otherwise=state) as found:
        found.studio = state
        yield found
    assert not state.wrong


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    """Whether a GPU has memory of its own; not on this machine, whatever it has."""
    answer = [False]
    monkeypatch.setattr("plugway_lmstudio._here.has_gpu_memory", lambda: answer[0])
    return answer


@pytest.fixture
async def backend(server):
    async with build_plugin(LmStudio, "studio", base_url=server.url).backend as found:
        yield found


def commands(server):
    return [(r.path.rpartition("/")[2], r.json) for r in server.requests if r.method == "POST"]


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({}, True),
        ({"base_url": "http://[::1]:1234"}, True),
        ({"base_url": "http://192.168.1.5:1234", "zone": "local"}, False),
        ({"zone": "gpu-box"}, False),
    ],
)
def test_only_a_server_on_this_machine_claims_its_memory(options, holds):
    found = build_plugin(LmStudio, "studio", **options).backend
    assert isinstance(found, HoldsModels) is holds
    assert isinstance(found, Loads)


# ── loaded and needs ──────────────────────────────────────────────────────────────────────────


async def test_what_somebody_else_loaded_is_seen_also_if_it_embeds(server, backend):
    server.studio.have("qwen", 8192)
    server.studio.have("idle")
    server.studio.have("nomic", 2048, kind="embedding", size=GB)
    found = await backend.loaded()
    assert [(m.model, m.size, m.context_tokens) for m in found] == [
        ("qwen", 5 * GB, 8192),
        ("nomic", GB, 2048),
    ]
    assert {(m.state, m.requests, m.idle_seconds, m.kept) for m in found} == {
        ("loaded", 0, None, "")
    }


async def test_two_instances_count_together_and_are_unloaded_together(server, backend):
    server.studio.have("qwen", 16_384, 8192)
    (model,) = await backend.loaded()
    assert (model.model, model.size, model.context_tokens) == ("qwen", 10 * GB, 8192)
    assert await backend.name_of("qwen:2") == "qwen"
    assert await backend.name_of("unknown") == "unknown"
    assert await backend.unload("qwen") is True
    assert commands(server) == [
        ("unload", {"instance_id": "qwen"}),
        ("unload", {"instance_id": "qwen:2"}),
    ]
    assert await backend.loaded() == []


async def test_a_name_is_looked_up_once_also_where_nothing_is_loaded(server, backend):
    server.studio.have("qwen")
    assert [await backend.name_of("qwen") for _ in range(3)] == ["qwen"] * 3
    assert len(server.requests) == 1


async def test_one_instance_can_be_unloaded_by_its_id(server, backend):
    server.studio.have("qwen", 16_384, 8192)
    assert await backend.unload("qwen:2") is True
    assert commands(server) == [("unload", {"instance_id": "qwen:2"})]
    (model,) = await backend.loaded()
    assert (model.size, model.context_tokens) == (5 * GB, 16_384)


@pytest.mark.parametrize("size", [0, -1, None, "5", True])
async def test_a_size_that_is_none_is_unknown(server, backend, size):
    server.studio.have("qwen", 4096, size=size)
    (model,) = await backend.loaded()
    assert (model.size, await backend.needs("qwen")) == (0, 0)


async def test_what_may_be_in_a_gpus_memory_is_not_claimed(server, backend, gpu):
    server.studio.have("qwen", 4096)
    assert await backend.needs("qwen") == 5 * GB
    gpu[0] = True
    (model,) = await backend.loaded()
    assert (model.size, await backend.needs("qwen")) == (0, 0)


@pytest.mark.parametrize("name", ["qwen", "qwen:2", "qwen@q4_k_m"])
async def test_requests_to_an_instance_or_a_variant_count_for_the_model(server, name):
    plugin = build_plugin(LmStudio, "studio", base_url=server.url)
    server.studio.have("qwen", 4096, 4096, variants=["qwen@q4_k_m"])
    async with gateway([plugin]) as running:
        (before,) = await plugin.backend.loaded()
        assert (await running.post(request_body(model=name))).status_code == 200
        (after,) = await plugin.backend.loaded()
    assert before.idle_seconds is None
    assert after.idle_seconds >= 0
    assert after.requests == 0


# ── load and unload ───────────────────────────────────────────────────────────────────────────


async def test_a_model_is_loaded_once(server, backend):
    server.studio.have("qwen")
    await backend.load("qwen")
    await backend.load("qwen")
    assert commands(server) == [("load", {"model": "qwen"})]
    assert [model.model for model in await backend.loaded()] == ["qwen"]


@pytest.mark.parametrize(("wanted", "asked"), [(16_384, 16_384), (100_000, 32_768)])
async def test_a_model_is_loaded_with_the_window_that_is_stated(server, wanted, asked):
    plugin = build_plugin(LmStudio, "s", base_url=server.url, unloaded_context_tokens=wanted)
    server.studio.have("qwen", variants=["qwen@q4_k_m"])
    async with plugin.backend as backend:
        await backend.load("qwen@q4_k_m")
        (info,) = await backend.models()
    assert commands(server) == [("load", {"model": "qwen@q4_k_m", "context_length": asked})]
    assert info.context_tokens == asked


async def test_a_load_that_fails_is_told_in_its_words(server, backend):
    server.studio.have("huge", size=200 * GB)
    with pytest.raises(BackendError, match="insufficient system resources"):
        await backend.load("huge")


async def test_a_model_that_it_does_not_have(server, backend):
    server.studio.have("qwen", 4096)
    assert await backend.unload("missing") is False
    for asked in (backend.load, backend.needs):
        with pytest.raises(RequestRejected, match="`lms get`") as refused:
            await asked("missing")
        assert refused.value.status == 404
    assert commands(server) == []


async def test_a_model_that_is_not_loaded_is_left_alone(server, backend):
    server.studio.have("qwen")
    assert await backend.unload("qwen") is False
    assert commands(server) == []


async def test_an_unload_that_is_accepted_and_not_done_is_an_error(server, backend, monkeypatch):
    monkeypatch.setattr("plugway_lmstudio._backend.UNLOAD_SECONDS", 0.2)
    server.studio.have("qwen", 4096)
    server.studio.deaf = True
    with pytest.raises(BackendError, match=r"still lists it as loaded after 0.2 s"):
        await backend.unload("qwen")


async def test_a_model_that_goes_while_it_is_being_unloaded_is_unloaded(server, backend):
    server.studio.have("qwen", 4096)

    def gone(request):
        server.studio.unload(request.json)
        return respond(404, {"error": {"type": "model_not_found", "message": "no such instance"}})

    server.script(server.studio, gone)
    assert await backend.unload("qwen") is True


# ── older servers, and others ─────────────────────────────────────────────────────────────────

V0 = {
    "object": "list",
    "data": [
        {"id": "llama", "type": "llm", "state": "loaded", "loaded_context_length": 4096},
        {"id": "coming", "type": "llm", "state": "loading"},
        {"id": "idle", "type": "vlm", "state": "not-loaded"},
        {"id": "nomic", "type": "embeddings", "state": "loaded"},
    ],
}


@pytest.fixture(params=["404", "200 and an error"])
async def old(request):
    """LM Studio before 0.4.0: v0 of the API only."""

    def answer(asked):
        if asked.path == "/api/v0/models":
            return respond(200, V0)
        assert asked.path == "/api/v1/models"
        return respond(404, {"error": "x"}) if request.param == "404" else unknown(asked)

    async with (
        ScriptedUpstream(otherwise=answer) as found,
        build_plugin(LmStudio, "studio", base_url=found.url).backend as backend,
    ):
        yield backend


async def test_an_old_version_says_what_is_loaded_and_that_it_keeps_it(old):
    found = {model.model: model for model in await old.loaded()}
    assert {name: (m.state, m.size) for name, m in found.items()} == {
        "llama": ("loaded", 0),
        "coming": ("loading", 0),
        "nomic": ("loaded", 0),
    }
    assert found["llama"].context_tokens == 4096
    assert "came with 0.4.0" in found["llama"].kept
    assert await old.unload("llama") is False
    assert await old.needs("llama") == 0
    await old.load("llama")
    with pytest.raises(BackendError, match=r"came with 0.4.0; update it"):
        await old.load("idle")
    assert [info.id for info in await old.models()] == ["llama", "coming", "idle"]


async def test_a_version_without_the_endpoints_says_so(server, backend):
    server.studio.partial = True
    server.studio.have("qwen")
    with pytest.raises(BackendError, match=r"came with 0.4.0"):
        await backend.load("qwen")
    server.studio.start("qwen", 4096)
    with pytest.raises(BackendError, match=r"came with 0.4.0"):
        await backend.unload("qwen")


@pytest.mark.parametrize(
    "answer",
    [
        respond(404, b"not found", {"content-type": "text/plain"}),
        respond(200, b"<html>Login</html>", {"content-type": "text/html"}),
        respond(200, {"error": "unknown"}),
        respond(200, {"models": None, "data": 5}),
        respond(200, []),
        respond(401, {"error": "no token"}),
        [Hold()],
    ],
    ids=["another server", "html", "200 and an error", "odd", "a list", "no token", "slow"],
)
async def test_a_list_that_cannot_be_read_is_an_error(monkeypatch, answer):
    async with (
        ScriptedUpstream(otherwise=answer) as found,
        build_plugin(LmStudio, "studio", base_url=found.url).backend as backend,
    ):
        briefly = partial(backend.upstream.fetch_json, seconds=0.2)
        monkeypatch.setattr(backend.upstream, "fetch_json", briefly)
        for asked in (backend.loaded(), backend.models(), backend.unload("m"), backend.needs("m")):
            with pytest.raises(BackendError):
                await asked


async def test_a_server_that_is_down_is_an_error():
    async with build_plugin(LmStudio, "s", base_url="http://127.0.0.1:9").backend as backend:
        for asked in (backend.loaded(), backend.unload("m"), backend.needs("m"), backend.load("m")):
            with pytest.raises(BackendError):
                await asked
