"""llama-server: window of a slot, load state, one model or a router of many."""

import pytest

from plugway import BackendRefused
from plugway.testing import (
    ERRORS,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_llama_server import LlamaServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


ONE = {
    "models": [{"name": "tiny.gguf", "model": "tiny.gguf", "capabilities": ["completion"]}],
    "object": "list",
    "data": [
        {
            "id": "tiny.gguf",
            "object": "model",
            "created": 1767225600,
            "owned_by": "llamacpp",
            "meta": {"n_ctx": 8192, "n_ctx_train": 32768, "n_params": 1},
        }
    ],
}
PROPS = {
    "default_generation_settings": {"n_ctx": 4096, "params": {}},
    "total_slots": 2,
    "modalities": {"vision": True, "audio": False},
    "chat_template_caps": {"supports_tools": True},
}
ROUTER = {
    "object": "list",
    "data": [
        {
            "id": "loaded-model",
            "status": {"value": "loaded", "args": ["llama-server", "-c", "9999"]},
            "meta": {"n_ctx": 16384},
            "architecture": {"input_modalities": ["text", "image"]},
        },
        {"id": "asked", "status": {"value": "unloaded", "args": ["x", "--ctx-size", "32768"]}},
        {"id": "unknown", "status": {"value": "unloaded", "args": []}},
        {"id": "coming", "status": {"value": "loading"}},
        {"id": "asleep", "status": {"value": "sleeping"}},
        {"id": "odd", "status": {"value": "new-state"}},
    ],
}


@pytest.fixture
async def server():
    async with ScriptedUpstream(otherwise=respond(404, {"error": "x"})) as found:
        yield found


def plugin(server):
    return build_plugin(LlamaServer, "llama", base_url=server.url)


def test_it_is_on_this_machine_unless_told():
    made = build_plugin(LlamaServer, "llama")
    assert made.backend.upstream.base_url == "http://127.0.0.1:8080"
    assert made.backend.zone == "local"


async def test_the_window_is_that_of_a_slot(server):
    server.script(respond(200, ONE), respond(200, PROPS))
    made = plugin(server)
    async with made.backend:
        (info,) = await made.backend.models()
    assert (info.id, info.context_tokens, info.state) == ("tiny.gguf", 4096, "loaded")
    assert info.capabilities == {"tools", "images"}
    assert info.extra == {"trained_context_tokens": 32768}


async def test_without_props_the_list_has_to_do(server):
    server.script(respond(200, ONE))
    made = plugin(server)
    async with made.backend:
        (info,) = await made.backend.models()
    assert info.context_tokens == 8192


async def test_a_router_tells_the_state_of_each_model_and_is_not_made_to_load_one(server):
    server.script(respond(200, ROUTER))
    made = plugin(server)
    async with made.backend:
        found = {info.id: (info.state, info.context_tokens) for info in await made.backend.models()}
    assert found == {
        "loaded-model": ("loaded", 16384),
        "asked": ("unloaded", 32768),
        "unknown": ("unloaded", 0),
        "coming": ("loading", 0),
        "asleep": ("loaded", 0),
        "odd": ("unknown", 0),
    }
    assert [r.path for r in server.requests] == ["/v1/models"]


async def test_while_it_loads_known_models_are_listed_as_loading(server):
    loading = ERRORS["llamacpp.loading"].script()
    server.script(loading, respond(200, ONE), respond(200, PROPS), loading)
    made = plugin(server)
    async with made.backend:
        with pytest.raises(BackendRefused, match="Loading model"):
            await made.backend.models()
        await made.backend.models()
        (info,) = await made.backend.models()
    assert (info.id, info.state) == ("tiny.gguf", "loading")


@pytest.mark.parametrize(
    ("name", "status", "kind", "text"),
    [
        ("llamacpp.loading", 529, "overloaded_error", "Loading model"),
        ("llamacpp.context_overflow", 400, "invalid_request_error", "request (13392 tokens)"),
        ("llamacpp.unauthorized", 401, "authentication_error", "Invalid API Key"),
        ("llamacpp.not_supported", 501, "api_error", "does not support completions"),
    ],
)
async def test_its_errors_are_told_in_its_words(server, name, status, kind, text):
    server.script(ERRORS[name].script())
    async with gateway([plugin(server)]) as running:
        response = await running.post(request_body())
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert text in response.json()["error"]["message"]
    assert ("x-should-retry" in response.headers) is (status == 401)


async def test_its_count_is_used(server):
    server.script(respond(200, {"input_tokens": 7}))
    async with gateway([plugin(server)]) as running:
        response = await running.post(request_body(), path="/v1/messages/count_tokens")
    assert response.json() == {"input_tokens": 7}


SWITCH = "{%- if enable_thinking is defined and not enable_thinking %}<think></think>{%- endif %}"
OFF = {"enable_thinking": False}


@pytest.mark.parametrize(
    ("template", "asked", "told"),
    [
        (SWITCH, {}, OFF),
        (SWITCH, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, None),
        (SWITCH, {"chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
        ("{{ messages }}", {}, None),
        ("{{ messages }}", {"thinking": {"type": "disabled"}}, OFF),
    ],
    ids=["not asked", "asked", "set by the client", "no switch", "switched off"],
)
async def test_a_template_that_can_think_does_so_only_where_it_is_asked_to(
    server, template, asked, told
):
    props = {**PROPS, "chat_template": template}
    server.script(respond(200, ONE), respond(200, props), respond(200, anthropic_message()))
    made = plugin(server)
    async with gateway([made]) as running:
        await made.backend.models()
        await running.post(request_body(model="tiny.gguf", **asked))
    assert server.requests[-1].json.get("chat_template_kwargs") == told
