"""A key that a vendor rejects: the client learns where the key is configured and how to fix it,
whatever the vendor's message and status, and never sees a part of the key."""

from __future__ import annotations

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_resilience import Resilience
from plugway_vllm import Vllm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

KEY = "sk-live-Zq81xT55vWb0nP37cJd9"
PARTS = (KEY, "sk-live", "cJd9", "Zq81")


def openai(message, code="invalid_api_key", kind="invalid_request_error"):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def google(message, status, reason):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    error = {"message": message, "status": status, "details": details if reason else []}
    return {"error": error}


REFUSALS = {
    "openai": (401, openai("Incorrect API key provided: sk-live-****************cJd9. You can find it.")),
    "openai, none": (401, openai("You didn't provide an API key.", None)),
    "azure": (401, {"error": {"code": "401", "message": "Access denied due to invalid subscription key or wrong API endpoint."}}),
    "mistral": (401, {"message": "Unauthorized", "request_id": "5f"}),
    "mistral, older": (401, {"detail": "Unauthorized"}),
    "groq": (401, openai("Invalid API Key")),
    "deepseek": (401, openai("Authentication Fails, Your api key: ****cJd9 is invalid", "invalid_request_error", "authentication_error")),
    "openrouter": (401, {"error": {"message": "No auth credentials found", "code": 401}}),
    "openrouter, unknown": (401, {"error": {"message": "User not found.", "code": 401}}),
    "together": (401, {"id": "x", "error": {"message": "Invalid API key provided.", "type": "invalid_request_error", "code": "invalid_api_key"}}),
    "fireworks": (403, {"error": {"object": "error", "type": "invalid_request_error", "message": "The API key you provided is invalid."}}),
    "xai": (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: sk***d9. You can obtain an API key from https://console.x.ai."}),
    "moonshot": (401, {"error": {"message": "Invalid Authentication", "type": "invalid_authentication_error"}}),
    "ollama cloud": (401, {"error": "unauthorized"}),
    "vllm": (401, {"error": "Unauthorized"}),
    "llama-server": (401, {"error": {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}}),
    "gemini": (400, google("API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", "API_KEY_INVALID")),
    "gemini, array": (400, [google("API key not valid.", "INVALID_ARGUMENT", "API_KEY_INVALID")]),
    "gemini, expired": (400, google("API key expired. Please renew the API key.", "INVALID_ARGUMENT", "API_KEY_INVALID")),
    "gemini, leaked": (403, google("Your API key was reported as leaked. Please use another API key.", "PERMISSION_DENIED", "")),
    "gemini, none": (403, google("Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.", "PERMISSION_DENIED", "")),
    "gemini, limited": (403, google("Requests from referer <empty> are blocked.", "PERMISSION_DENIED", "API_KEY_HTTP_REFERRER_BLOCKED")),
    "gemini, token": (401, google("Request had invalid authentication credentials.", "UNAUTHENTICATED", "ACCESS_TOKEN_TYPE_UNSUPPORTED")),
    "cohere": (401, {"message": "invalid api token"}),
    "cerebras": (401, {"message": "Wrong API Key", "type": "invalid_request_error", "code": "wrong_api_key"}),
    "nvidia": (403, {"status": 403, "title": "Forbidden", "detail": "Authorization failed"}),
    "dashscope": (401, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}),
    "litellm": (400, openai("Authentication Error, LiteLLM Virtual Key expected. Received=sk-live-Zq81..., expected to start with 'sk-'.", "400", "auth_error")),
    "anthropic": (401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}),
    "a page": (401, b"<html>Unauthorized</html>"),
    "nothing": (401, b""),
    "the whole key": (401, openai(f"{KEY} is unknown; Bearer {KEY} does not do")),
    "the ends of it": (403, openai("Invalid API key: sk-live-Zq81…cJd9")),
}  # fmt: skip
BACKENDS = {
    Anthropic: {},
    AnthropicCompatible: {"zone": "vendor"},
    Gemini: {},
    LlamaServer: {},
    LmStudio: {},
    Ollama: {},
    OpenAI: {},
    OpenAICompatible: {"zone": "vendor"},
    Vllm: {},
}
STACKS = {
    "alone": (),
    "normalized": (ErrorNormalizer,),
    "all": (Resilience, ErrorNormalizer),
}
WHERE = [(kind, "/v1/messages") for kind in BACKENDS]
WHERE += [(kind, "/v1/chat/completions") for kind in (Anthropic, Gemini, OpenAICompatible)]


@pytest.mark.parametrize("stack", ["alone", "normalized"])
@pytest.mark.parametrize(
    ("kind", "path"), WHERE, ids=lambda value: getattr(value, "__name__", value)
)
async def test_a_rejected_key_is_reported_with_its_place_and_the_fix(kind, path, stack):
    now = [respond(500)]
    async with ScriptedUpstream(otherwise=lambda _: now[0]) as upstream:
        layers = [build_plugin(layer, layer.__name__.lower()) for layer in STACKS[stack]]
        options = {"api_key": KEY, "base_url": upstream.url, **BACKENDS[kind]}
        backend = build_plugin(kind, "up", **options)
        async with gateway([build_plugin(OpenAIApi, "openai-api"), *layers, backend]) as running:
            for name, (status, said) in REFUSALS.items():
                now[0] = respond(status, said)
                answer = await running.post(request_body(model="up/m"), path)
                assert answer.status_code == 401, (name, answer.text)
                assert answer.headers["x-should-retry"] == "false", name
                message = answer.json()["error"]["message"]
                assert "`api_key` of `up`" in message, (name, message)
                assert "plugway keys" in message, (name, message)
                shown = answer.text + str(answer.headers)
                assert not [part for part in PARTS if part in shown], (name, shown)


@pytest.mark.parametrize("name", ["gemini", "xai", "fireworks"])
async def test_a_rejected_key_is_not_retried_and_is_reported(name):
    script = respond(*REFUSALS[name])
    async with ScriptedUpstream(otherwise=script) as upstream:
        layers = [build_plugin(layer, layer.__name__.lower()) for layer in STACKS["all"]]
        backend = build_plugin(
            OpenAICompatible, "up", api_key=KEY, base_url=upstream.url, zone="vendor"
        )
        async with gateway([*layers, backend]) as running:
            answer = await running.post(request_body(model="up/m"))
    assert answer.status_code == 401
    assert "`api_key` of `up`" in answer.json()["error"]["message"]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, openai("messages: the key `content` is missing", None)),
        (400, openai("Invalid value for 'tools[0].token'", None)),
        (403, openai("Country, region, or territory not supported", "unsupported_country")),
        (403, openai("Project does not have access to model", "model_not_found")),
        (403, {"type": "error", "error": {"type": "permission_error", "message": "no"}}),
        (429, openai("You exceeded your current quota", "insufficient_quota")),
        (500, openai("Incorrect API key cache", None)),
    ],
)
@pytest.mark.parametrize("kind", [AnthropicCompatible, OpenAICompatible, Gemini])
async def test_another_refusal_is_not_reported_as_a_rejected_key(kind, status, said):
    async with ScriptedUpstream(otherwise=respond(status, said)) as upstream:
        options = {"api_key": KEY, "base_url": upstream.url, **BACKENDS[kind]}
        backend = build_plugin(kind, "up", **options)
        async with gateway([backend]) as running:
            answer = await running.post(request_body(model="up/m"))
    assert answer.status_code == status
    assert "api_key" not in answer.json()["error"]["message"]


async def test_an_ollama_that_is_not_signed_in_needs_no_key():
    url = "https://ollama.com/connect?name=host&key=c3NoLWVkMjU1MTk"
    said = {"error": "unauthorized", "signin_url": url}
    async with ScriptedUpstream(otherwise=respond(401, said)) as upstream:
        backend = build_plugin(Ollama, "up", base_url=upstream.url, cloud_models=True)
        async with gateway([build_plugin(ErrorNormalizer, "errors"), backend]) as running:
            answer = await running.post(request_body(model="up/gpt-oss:120b-cloud"))
    assert answer.status_code == 401
    assert "`ollama signin`" in answer.json()["error"]["message"]
    assert "api_key" not in answer.text
    assert "c3NoLW" not in answer.text
