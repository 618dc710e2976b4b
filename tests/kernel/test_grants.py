"""A limited caller may choose a model, and nothing else at the upstream, on every path."""

from contextlib import asynccontextmanager

import httpx2
import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai import OpenAI
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
    async with httpx2.AsyncClient(base_url=found.url, trust_env=False, verify=False) as client:
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


STORED = {"type": "image", "source": {"type": "file", "file_id": "file_x"}}
INSIDE = {
    "messages": [
        {"output_config": {"effort": "low", "model": "other"}},
        {"thinking": {"type": "adaptive", "model": "other"}},
        {"context_management": {"edits": [{"type": "compact_20260112", "model": "other"}]}},
        {"tools": [{"name": "x", "input_schema": {"type": "object"}, "model": "other"}]},
        {"tools": [{"type": "code_execution_20250825", "name": "x", "skills": ["a"]}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "content", "content": [STORED]}}]}]},
    ],
    "chat": [
        {"audio": {"voice": {"id": "voice_x"}, "format": "wav"}},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_x"}}, {"role": "user", "content": "x"}]},
        {"reasoning": {"effort": "low", "models": ["other"]}},
        {"response_format": {"type": "json_object", "provider": "other"}},
        {"stream_options": {"include_usage": True, "fallbacks": ["other"]}},
        {"tools": [{"type": "function", "function": {"name": "f"}, "server_url": "http://127.0.0.1:9"}]},
        {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp", "server_label": "x"}]}},
    ],
    "responses": [
        {"input": [{"id": "msg_x"}]},
        {"input": [{"type": None, "id": "msg_x"}]},
        {"input": [{"role": "user", "content": "x"}, {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_x"}]},
        {"input": [{"role": "user", "content": "x"}, {"type": "computer_call_output", "call_id": "c", "output": {"type": "computer_screenshot", "file_id": "file_x"}}]},
        {"tools": [{"type": "shell", "environment": {"type": "container_auto", "skills": [{"skill_id": "x"}]}}]},
        {"tools": [{"type": "web_search", "filters": {"more": [{"provider": "x"}]}}]},
        {"text": {"format": {"type": "text"}, "provider": "x"}},
        {"moderation": {"model": "other"}},
    ],
}  # fmt: skip
WAYS = {
    "messages": ("/v1/messages", AnthropicCompatible, {"models": ["m"]}),
    "chat": ("/v1/chat/completions", OpenAICompatible, {"learn": False}),
    "responses": ("/v1/responses", OpenAI, {"api_key": "k"}),
}
"""Each API with a backend that gets the client's own body."""


@asynccontextmanager
async def relayed(api, upstream):
    path, kind, options = WAYS[api]
    backend = build_plugin(kind, "up", base_url=upstream.url, **options)
    async with gateway([build_plugin(OpenAIApi, "openai-api"), backend], tokens=LIMITED) as found:
        yield found, path


def posted(upstream):
    return [request for request in upstream.requests if request.method == "POST"]


@pytest.mark.parametrize(("api", "said"), [(api, said) for api in INSIDE for said in INSIDE[api]])
async def test_what_chooses_deep_inside_a_field_is_refused_too(api, said):
    async with ScriptedUpstream() as upstream, relayed(api, upstream) as (found, path):
        answer = await asked(found, path, PATHS[path]() | said)
        assert answer.status_code == 403, answer.text
        assert next(iter(said)) in answer.json()["error"]["message"]
        assert not posted(upstream)


SCHEMA = {"type": "object", "properties": {"model": {"type": "string"}, "api_key": {}, "url": {}}}
USUAL = {
    "messages": [
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048},
        {"output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}},
        {"tools": [{"name": "x", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}]},
        {"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "x", "input": {"file_id": "a", "model": "b"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]},
        ]},
    ],
    "chat": [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}], "tool_choice": {"type": "custom", "custom": {"name": "x"}}},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
    ],
    "responses": [
        {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}, "verbosity": "low"}},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}, {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "y"}]}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("api", "said"), [(api, said) for api in USUAL for said in USUAL[api]])
async def test_names_of_the_clients_own_and_usual_settings_go_on(api, said):
    async with (
        ScriptedUpstream(otherwise=respond(500)) as upstream,
        relayed(api, upstream) as (found, path),
    ):
        await asked(found, path, PATHS[path]() | said)
        (sent, *_) = posted(upstream)
    assert {name: sent.json[name] for name in said} == said


TWICE = {
    "messages": b'"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file",'
    b'"file_id":"file_x","type":"base64","media_type":"image/png","data":"aGk=","file_id":null}}]}]',
    "chat": b'"messages":[{"role":"user","content":"x"}],"tools":[{"type":"mcp","server_url":'
    b'"http://127.0.0.1:9","type":"function","function":{"name":"f"},"server_url":null}]',
    "responses": b'"input":[{"type":"item_reference","type":"message","role":"user","content":"x"}]',
}


@pytest.mark.parametrize("api", TWICE)
async def test_of_a_member_that_stands_twice_inside_only_the_one_that_was_looked_at_goes_on(api):
    body = b'{"model":"up/m","max_tokens":5,"max_output_tokens":16,' + TWICE[api] + b"}"
    async with (
        ScriptedUpstream(otherwise=respond(500)) as upstream,
        relayed(api, upstream) as (found, path),
    ):
        await asked(found, path, body)
        sent = [request.body for request in posted(upstream)]
    for word in (b"file_x", b"mcp", b"127.0.0.1", b"item_reference"):
        assert not any(word in one for one in sent)
