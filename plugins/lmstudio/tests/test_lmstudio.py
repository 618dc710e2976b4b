"""LM Studio: load state, windows of both of its lists, and its odd errors."""

import pytest

from plugway.testing import (
    ERRORS,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_lmstudio import LmStudio
from plugway_lmstudio._models import models_of

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


V1 = {
    "models": [
        {
            "type": "llm",
            "publisher": "qwen",
            "key": "qwen/qwen3.5-9b",
            "display_name": "Qwen3.5 9B",
            "architecture": "qwen3",
            "loaded_instances": [
                {"id": "qwen/qwen3.5-9b", "config": {"context_length": 16384, "parallel": 4}},
                {"id": "qwen/qwen3.5-9b:2", "config": {"context_length": 8192}},
            ],
            "max_context_length": 262144,
            "format": "gguf",
            "capabilities": {"vision": True, "trained_for_tool_use": True},
        },
        {
            "type": "llm",
            "key": "openai/gpt-oss-20b",
            "display_name": "gpt-oss 20b",
            "loaded_instances": [],
            "max_context_length": 131072,
            "capabilities": {"vision": False, "trained_for_tool_use": False},
        },
        {"type": "embedding", "key": "nomic-embed", "loaded_instances": []},
    ]
}
V0 = {
    "object": "list",
    "data": [
        {
            "id": "qwen2-vl-7b-instruct",
            "object": "model",
            "type": "vlm",
            "state": "not-loaded",
            "max_context_length": 32768,
        },
        {
            "id": "meta-llama-3.1-8b-instruct",
            "object": "model",
            "type": "llm",
            "state": "loaded",
            "max_context_length": 131072,
            "loaded_context_length": 4096,
            "capabilities": ["tool_use"],
        },
        {"id": "big", "type": "llm", "state": "loading", "max_context_length": 8192},
        {"id": "nomic", "type": "embeddings", "state": "not-loaded"},
    ],
}


async def models(server, **options):
    made = build_plugin(LmStudio, "lmstudio", base_url=server.url, **options)
    async with made.backend:
        return {info.id: info for info in await made.backend.models()}


def test_it_is_on_this_machine_unless_told():
    made = build_plugin(LmStudio, "lmstudio")
    assert made.backend.upstream.base_url == "http://127.0.0.1:1234"
    assert made.backend.zone == "local"


async def test_the_new_list_tells_load_state_and_window(server):
    server.script(respond(200, V1))
    found = await models(server, api_key="canary")
    assert set(found) == {"qwen/qwen3.5-9b", "openai/gpt-oss-20b"}
    loaded, other = found["qwen/qwen3.5-9b"], found["openai/gpt-oss-20b"]
    assert (loaded.state, loaded.context_tokens, loaded.display_name) == (
        "loaded",
        8192,
        "Qwen3.5 9B",
    )
    assert loaded.capabilities == {"images", "tools"}
    assert loaded.extra == {"largest_context_tokens": 262144}
    assert (other.state, other.context_tokens) == ("unloaded", 131072)
    assert server.requests[0].path == "/api/v1/models"
    assert server.requests[0].header("authorization") == "Bearer canary"


async def test_the_old_list_is_asked_where_there_is_no_new_one(server):
    server.script(respond(404, {"error": "Unexpected endpoint"}), respond(200, V0))
    found = await models(server, unloaded_context_tokens=4000)
    assert {info.id: (info.state, info.context_tokens) for info in found.values()} == {
        "qwen2-vl-7b-instruct": ("unloaded", 4000),
        "meta-llama-3.1-8b-instruct": ("loaded", 4096),
        "big": ("loading", 4000),
    }
    assert found["qwen2-vl-7b-instruct"].capabilities == {"images"}
    assert found["meta-llama-3.1-8b-instruct"].capabilities == {"tools"}


@pytest.mark.parametrize(
    "listed", [None, {}, {"models": None}, {"models": [{}, 1]}, {"data": [{"id": None}]}]
)
def test_odd_lists_are_empty(listed):
    assert models_of(listed, 0) == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("lmstudio.context_overflow", 400),
        ("lmstudio.context_overflow_as_500", 500),
        ("lmstudio.context_overflow_in_stream", 500),
    ],
)
async def test_an_overflow_is_told_in_its_words_however_it_comes(server, name, status):
    server.script(ERRORS[name].script())
    async with gateway([build_plugin(LmStudio, "lmstudio", base_url=server.url)]) as running:
        response = await running.post(request_body(stream=True))
    assert response.status_code == status
    assert "n_keep: 13055>= n_ctx: 4096" in response.json()["error"]["message"]
    assert response.json()["type"] == "error"


async def test_a_missing_model_is_told_in_its_words(server):
    server.script(ERRORS["lmstudio.no_model_loaded"].script())
    async with gateway([build_plugin(LmStudio, "lmstudio", base_url=server.url)]) as running:
        response = await running.post(request_body())
    assert response.status_code == 400
    assert "No models loaded" in response.json()["error"]["message"]


REASONS = {"models": [{"key": "qwen", "type": "llm", "capabilities": {"reasoning": {"default": "on"}}}, {"key": "plain", "type": "llm"}]}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        ("qwen", {}, {"type": "disabled"}),
        ("qwen", {"thinking": {"type": "adaptive"}}, {"type": "adaptive"}),
        ("plain", {}, None),
    ],
)
async def test_a_model_that_is_known_to_reason_does_so_only_where_it_is_asked_to(
    server, model, asked, told
):
    server.script(respond(200, REASONS), respond(200, anthropic_message()))
    made = build_plugin(LmStudio, "lmstudio", base_url=server.url)
    async with gateway([made]) as running:
        await made.backend.models()
        await running.post(request_body(model=model, **asked))
    assert server.requests[-1].json.get("thinking") == told
