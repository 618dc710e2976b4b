"""Which paths are served to whom, and how clients show their key."""

import pytest

from plugway.testing import anthropic_message, build_plugin, respond
from plugway_echo import Echo
from plugway_openai_api import OpenAIApi

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

HI = {"contents": [{"parts": [{"text": "hi"}]}]}
GOOGLES = {"x-goog-api-client": "google-genai-sdk/3.6.1"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/anthropic/claude/m",
        "/v1beta/models/claude/m",
        "/v1/models/claude/m",
        "/v1alpha/models/claude/m",
        "/v1beta/anthropic/claude/m",
        "/v1/v1beta/models/claude/m",
        "/models/claude/m",
        "/models/anthropic/claude/m",
    ],
)
async def test_every_version_serves_every_spelling_of_a_model(claude, path):
    claude.upstream.script(respond(200, anthropic_message("Hello.")))
    answer = await claude.gate.post(HI, f"{path}:generateContent")
    assert answer.status_code == 200, answer.text
    assert claude.asked["model"] == "m"


async def test_a_model_that_is_nowhere_is_a_404(claude):
    answer = await claude.post(HI, model="anthropic/gone/m")
    assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("lines", "query", "status"),
    [
        ({"x-goog-api-key": "test-token"}, "", 200),
        ({}, "?key=test-token", 200),
        ({"x-goog-api-key": "wrong"}, "", 401),
        ({}, "?key=wrong", 401),
        ({}, "", 401),
    ],
)
async def test_the_gateways_token_is_the_key(claude, lines, query, status):
    del claude.gate.client.headers["authorization"]
    claude.upstream.script(respond(200, anthropic_message("Hello.")))
    client, where = claude.gate.client, f"/v1beta/models/claude/m:generateContent{query}"
    answer = await client.post(where, json=HI, headers=lines)
    assert answer.status_code == status
    listed = await client.get(f"/v1beta/models{query}", headers=lines)
    assert listed.status_code == status
    if status == 401:
        assert answer.json()["error"]["status"] == "UNAUTHENTICATED"
        assert "GEMINI_API_KEY" in answer.json()["error"]["message"]
    else:
        (asked,) = [one for one in claude.upstream.requests if one.method == "POST"]
        assert "test-token" not in f"{asked.path} {dict(asked.headers)}"


async def test_a_key_is_in_no_line_of_the_log(claude, caplog):
    caplog.set_level("DEBUG", logger="plugway")
    answer = await claude.post(HI, query="?key=a-key-that-is-secret", model="anthropic/gone/m")
    assert answer.status_code == 404
    lines = [one.getMessage() for one in caplog.records if one.name.startswith("plugway")]
    assert any("404" in line for line in lines)
    assert "a-key-that-is-secret" not in "".join(lines)


async def test_models_are_listed_in_googles_shape_page_by_page(serving):
    backend = build_plugin(Echo, "echo")
    async with serving(backend) as running:
        get = running.gate.client.get
        whole = (await get("/v1beta/models")).json()
        names = [model["name"] for model in whole["models"]]
        assert all(name.startswith("models/anthropic/echo/") for name in names)
        assert whole["models"][0]["supportedGenerationMethods"] == [
            "generateContent",
            "countTokens",
        ]
        page = (await get("/v1beta/models?pageSize=1&pageToken=0")).json()
        assert page["models"] == whole["models"][:1]
        assert ("nextPageToken" in page) is (len(names) > 1)
        assert (await get("/v1beta/models?pageToken=x")).json()["error"]["code"] == 400
        one = await get(f"/v1beta/{names[0]}")
        assert one.json() == whole["models"][0]
        gone = await get("/v1beta/models/gone")
        assert (gone.status_code, gone.json()["error"]["status"]) == (404, "NOT_FOUND")


async def test_v1_models_are_googles_for_googles_clients_only(serving):
    others = build_plugin(OpenAIApi, "openai-api")
    async with serving(build_plugin(Echo, "echo"), between=[others]) as running:
        get = running.gate.client.get
        assert "models" in (await get("/v1/models", headers=GOOGLES)).json()
        assert "data" in (await get("/v1/models")).json()
        assert "data" in (await get("/v1/models", headers={"anthropic-version": "x"})).json()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1beta/models/claude/m:predictLongRunning"),
        ("POST", "/v1beta/cachedContents"),
        ("GET", "/v1beta/files"),
        ("POST", "/upload/v1beta/files"),
    ],
)
async def test_what_is_not_served_says_what_is(claude, method, path):
    json = {} if method == "POST" else None
    answer = await claude.gate.client.request(method, path, json=json)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (404, "NOT_FOUND")
    assert "generateContent" in error["message"]


async def test_a_limited_token_uses_its_models_and_no_other(serving):
    echo, other = build_plugin(Echo, "echo"), build_plugin(Echo, "other")
    tokens = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
    async with serving(echo, other, tokens=tokens) as running:
        client = running.gate.client
        del client.headers["authorization"]
        client.headers["x-goog-api-key"] = "phone-token"
        client.headers.update(GOOGLES)
        config = {"generationConfig": {"topK": 3}, "toolConfig": {}, "safetySettings": []}
        body = {**HI, **config, "systemInstruction": {"parts": [{"text": "s"}]}}
        names = [one["name"] for one in (await client.get("/v1beta/models")).json()["models"]]
        assert names
        assert all(name.startswith("models/anthropic/echo/") for name in names)
        served = await running.gate.post(body, f"/v1beta/{names[0]}:generateContent")
        assert served.status_code == 200, served.text
        path = f"/v1beta/{names[0].replace('echo/', 'other/')}:generateContent"
        refused = await running.gate.post(body, path)
        assert refused.status_code in (400, 404)
        steered = await running.gate.post(
            {**body, "provider": "x"}, f"/v1beta/{names[0]}:generateContent"
        )
        assert (steered.status_code, steered.json()["error"]["status"]) == (
            403,
            "PERMISSION_DENIED",
        )
