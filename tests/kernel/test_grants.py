"""A limited caller may choose a model, and nothing else at the upstream, on every path."""

from contextlib import asynccontextmanager

import httpx2
import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible

pytestmark = pytest.mark.anyio
PHONE = {"authorization": "Bearer phone-token"}
LIMITED = [{"name": "phone", "token": "phone-token", "models": ["up/m"]}]
PATHS = {
    "/v1/messages": lambda: request_body(model="up/m"),
    "/v1/messages/count_tokens": lambda: request_body(model="up/m"),
    "/v1/chat/completions": lambda: {
        "model": "up/m",
        "messages": [{"role": "user", "content": "hello"}],
    },
    "/v1/responses": lambda: {"model": "up/m", "input": "hello"},
}
CHOOSING = {
    "models": ["other"],
    "route": "fallback",
    "provider": {"order": ["x"]},
    "plugins": [{"id": "web"}],
    "fallbacks": ["other"],
    "api_base": "http://127.0.0.1:9",
    "apiBase": "http://127.0.0.1:9",
    "base_url": "http://127.0.0.1:9",
    "api_key": "k",
    "deployment_id": "other",
    "custom_llm_provider": "x",
    "mcp_servers": [{"url": "http://127.0.0.1:9"}],
    "container": "c_1",
    "extra_body": {"model": "other"},
    "extra_headers": {"x": "y"},
    "transforms": ["middle-out"],
    "service_tier": "priority",
    "speed": "fast",
    "inference_geo": "us",
    "metadata": {"model_group": "other"},
    "headers": {"x": "y"},
}


@asynccontextmanager
async def served(path, upstream):
    if "messages" in path:
        backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url, models=["m"])
    else:
        backend = build_plugin(OpenAICompatible, "up", base_url=upstream.url, learn=False)
    stack = [build_plugin(OpenAIApi, "openai-api"), backend]
    async with gateway(stack, tokens=LIMITED) as found:
        yield found


async def asked(found, path, body, headers=PHONE):
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    async with httpx2.AsyncClient(base_url=found.url, trust_env=False) as client:
        return await client.post(
            path,
            content=content,
            headers={"content-type": "application/json", **headers},
        )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", CHOOSING)
async def test_what_chooses_more_than_a_model_is_refused_and_nothing_is_sent(path, name):
    async with ScriptedUpstream() as upstream, served(path, upstream) as found:
        answer = await asked(found, path, PATHS[path]() | {name: CHOOSING[name]})
        assert answer.status_code == 403, answer.text
        assert name in answer.json()["error"]["message"]
        assert not [r for r in upstream.requests if r.method == "POST"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header", ["openai-organization", "x-litellm-tags", "helicone-target-url", "x-api-base"]
)
async def test_header_lines_that_steer_are_refused(path, header):
    async with ScriptedUpstream() as upstream, served(path, upstream) as found:
        answer = await asked(found, path, PATHS[path](), {**PHONE, header: "x"})
        assert answer.status_code == 403, answer.text
        assert header in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["brand_new", "because", "self"])
async def test_a_field_that_nobody_knows_is_left_out_before_it_is_sent(path, name):
    async with (
        ScriptedUpstream(otherwise=respond(500)) as upstream,
        served(path, upstream) as found,
    ):
        await asked(found, path, PATHS[path]() | {name: 1, "temperature": 0.5})
        sent = [r for r in upstream.requests if r.method == "POST"]
    assert sent
    assert all(name not in r.json for r in sent)


@pytest.mark.parametrize("path", PATHS)
async def test_a_field_that_stands_twice_is_refused(path):
    body = orjson.dumps(PATHS[path]())[:-1] + b',"model":"other"}'
    async with ScriptedUpstream() as upstream, served(path, upstream) as found:
        answer = await asked(found, path, body)
        assert answer.status_code in (400, 403)
        assert not [r for r in upstream.requests if r.method == "POST"]


@pytest.mark.parametrize("path", PATHS)
async def test_the_gateways_own_token_may_say_all_of_it(path):
    async with (
        ScriptedUpstream(otherwise=respond(500)) as upstream,
        served(path, upstream) as found,
    ):
        own = {"authorization": f"Bearer {found.token}"}
        answer = await asked(found, path, PATHS[path]() | {"provider": {"order": ["x"]}}, own)
    assert answer.status_code != 403
