"""Conversations that only Anthropic keeps are refused elsewhere, by the codes that the SDK knows."""

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_vllm import Vllm

pytestmark = pytest.mark.anyio
CREATE = {"type": "create"}
CONTINUE = {"type": "continue", "previous_message_id": "msg_1"}
CODES = [
    (CREATE, {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}),
    (CONTINUE, {"error_code": "thread_not_found"}),
    ({"type": "of tomorrow"}, {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}),
]  # fmt: skip
KEYLESS = [AnthropicCompatible, LlamaServer, Ollama, Vllm]


async def asked(plugin, thread, **more):
    """The answer to a request with that thread, and the requests that the upstream got."""
    if plugin not in KEYLESS:
        more["api_key"] = "k"
    async with ScriptedUpstream() as upstream:
        backend = build_plugin(plugin, "up", base_url=upstream.url, **more)
        async with gateway([build_plugin(FieldPolicy, "field-policy"), backend]) as running:
            response = await running.post(request_body("hi", model="up/m", thread=thread))
        posts = [r for r in upstream.requests if r.method == "POST" and "/api/" not in r.path]
        return response, [r.json for r in posts]


@pytest.mark.parametrize(("thread", "details"), CODES)
@pytest.mark.parametrize("plugin", [*KEYLESS, OpenAI, Gemini])
async def test_a_thread_is_refused_where_none_is_kept(plugin, thread, details):
    response, sent = await asked(plugin, thread)
    assert sent == []
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["details"] == details
    assert "Send all messages, without `thread`" in error["message"]
    assert response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("plugin", KEYLESS)
async def test_without_a_thread_nothing_is_refused(plugin):
    response, sent = await asked(plugin, None)
    assert response.status_code == 200
    assert len(sent) == 1


async def test_anthropic_gets_the_thread():
    response, sent = await asked(Anthropic, CONTINUE)
    assert response.status_code == 200
    assert sent[0]["thread"] == CONTINUE


async def test_a_thread_is_kept_where_the_configuration_says_so():
    async with ScriptedUpstream() as upstream:
        policy = build_plugin(FieldPolicy, "field-policy", backends={"up": {"keep": ["thread"]}})
        backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
        async with gateway([policy, backend]) as running:
            response = await running.post(request_body("hi", thread=CREATE))
        assert response.status_code == 200
        assert upstream.requests[-1].json["thread"] == CREATE
