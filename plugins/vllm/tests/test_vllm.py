"""vLLM: windows of models and adapters, and error types of its own."""

import pytest

from plugway.testing import (
    ERRORS,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_vllm import Vllm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


LIST = {
    "object": "list",
    "data": [
        {
            "id": "Qwen/Qwen3-8B",
            "object": "model",
            "created": 1767225600,
            "owned_by": "vllm",
            "root": "Qwen/Qwen3-8B",
            "parent": None,
            "max_model_len": 40960,
            "permission": [{"id": "modelperm-1"}],
        },
        {"id": "sql-lora", "owned_by": "vllm", "root": "/a", "parent": "Qwen/Qwen3-8B"},
        {"id": "lost-lora", "owned_by": "vllm", "parent": "gone"},
    ],
}


def plugin(server, **options):
    return build_plugin(Vllm, "vllm", base_url=server.url, **options)


def test_it_is_on_this_machine_unless_told():
    made = build_plugin(Vllm, "vllm")
    assert made.backend.upstream.base_url == "http://127.0.0.1:8000"
    assert made.backend.zone == "local"
    assert build_plugin(Vllm, "v", base_url="http://10.0.0.9:8000").backend.zone == "10.0.0.9:8000"


async def test_an_adapter_has_the_window_of_its_model(server):
    server.script(respond(200, LIST))
    made = plugin(server, api_key="canary")
    async with made.backend:
        found = {info.id: (info.context_tokens, info.state) for info in await made.backend.models()}
    assert found == {
        "Qwen/Qwen3-8B": (40960, "loaded"),
        "sql-lora": (40960, "loaded"),
        "lost-lora": (0, "loaded"),
    }
    assert server.requests[0].header("authorization") == "Bearer canary"


@pytest.mark.parametrize(
    ("name", "status", "kind", "text"),
    [
        ("vllm.context_overflow", 400, "invalid_request_error", "36000 in the messages"),
        ("vllm.context_overflow_as_500", 500, "api_error", "36000 in the messages"),
        ("vllm.prompt_too_long", 400, "invalid_request_error", "context length 32768"),
        ("vllm.model_not_found", 404, "not_found_error", "`no-such-model`"),
        ("vllm.engine_dead", 500, "api_error", "EngineCore"),
    ],
)
async def test_its_errors_get_types_that_clients_know(server, name, status, kind, text):
    server.script(ERRORS[name].script())
    async with gateway([plugin(server)]) as running:
        response = await running.post(request_body())
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert text in response.json()["error"]["message"]


async def test_a_model_with_slashes_in_its_name_is_reached(server):
    async with gateway([plugin(server)]) as running:
        message = await running.ask("hello", model="anthropic/vllm/Qwen/Qwen3-8B")
    assert server.requests[0].json["model"] == "Qwen/Qwen3-8B"
    assert message["model"] == "anthropic/vllm/Qwen/Qwen3-8B"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, None),
        ({}, None),
    ],
)
async def test_thinking_that_is_switched_off_is_off_in_the_template(server, asked, told):
    server.script(respond(200, anthropic_message()))
    async with gateway([build_plugin(Vllm, "vllm", base_url=server.url)]) as running:
        await running.post(request_body(**asked))
    assert server.requests[-1].json.get("chat_template_kwargs") == told
