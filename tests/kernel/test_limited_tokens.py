"""A token for some models only: the same verdict on every way to a model (RELIABILITY A-01 to A-04)."""

import httpx2
import orjson
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from plugway import NoOptions, Plugin, hookimpl
from plugway.config.config import parse_config
from plugway.testing import build_plugin, gateway, request_body
from plugway.types.errors import ConfigError
from plugway_echo import Echo
from plugway_openai_api import OpenAIApi
from plugway_resilience import Resilience
from plugway_router import Router

pytestmark = pytest.mark.anyio

PHONE = "phone-token"
LIMITED = [{"name": "phone", "token": PHONE, "models": ["mine/*", "far/small"]}]


def stack(**router):
    return [
        build_plugin(OpenAIApi, "openai-api"),
        build_plugin(Resilience, "resilience"),
        build_plugin(Router, "router", **router),
        build_plugin(Echo, "mine", models=["a"]),
        build_plugin(Echo, "far", models=["small", "large"]),
    ]


@pytest.fixture
async def served():
    models = {"cheap": ["far/small"], "big": ["far/large"], "both": ["far/large", "mine/a"]}
    async with gateway(stack(aliases=models), tokens=LIMITED) as found:
        yield found


def as_phone(served, **headers):
    headers = headers or {"authorization": f"Bearer {PHONE}"}
    return httpx2.AsyncClient(base_url=served.url, headers=headers, trust_env=False, verify=False)


PATHS = {
    "/v1/messages": lambda model: request_body(model=model),
    "/v1/messages/count_tokens": lambda model: request_body(model=model),
    "/v1/messages/explain": lambda model: request_body(model=model),
    "/v1/chat/completions": lambda model: {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
    },
    "/v1/responses": lambda model: {"model": model, "input": "hello"},
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "model", ["anthropic/mine/a", "mine/a", "anthropic/far/small", "cheap", "anthropic/router/both"]
)
async def test_a_model_that_is_granted_is_served_on_every_path(served, path, model):
    async with as_phone(served) as client:
        answer = await client.post(path, json=PATHS[path](model))
    assert answer.status_code == 200
    assert "far/large" not in answer.headers["plugway-receipt"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "model",
    [
        "anthropic/far/large",
        "far/large",
        "big",
        "anthropic/router/big",
        "MINE/A",
        "Mine/a",
        "x/mine/a",
        "far/small ",
        " far/small",
        "far/small/../large",
        "nothing/such",
    ],
)
async def test_any_other_is_refused_in_the_same_words_on_every_path(served, path, model):
    async with as_phone(served) as client:
        answer = await client.post(path, json=PATHS[path](model))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == f"`phone` may not use model `{model}`"
    if "messages" in path:
        assert error["type"] == "invalid_request_error"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": f"Bearer {PHONE}"}, 400),
        ({"x-api-key": PHONE}, 400),
        ({"authorization": f"Bearer {PHONE}", "x-api-key": PHONE}, 400),
        ({"plugway-token": PHONE}, 400),
        ({"cookie": f"token={PHONE}"}, 401),
        ({"authorization": f"Bearer {PHONE}", "x-api-key": "test-token"}, 200),
    ],
)
@pytest.mark.parametrize("path", PATHS)
async def test_the_verdict_is_the_same_wherever_the_token_stands(served, headers, status, path):
    async with as_phone(served, **headers) as client:
        answer = await client.post(f"{path}?token={PHONE}", json=PATHS[path]("far/large"))
    assert answer.status_code == status


@pytest.mark.parametrize("version", [{"anthropic-version": "2023-06-01"}, {}])
async def test_only_models_that_are_granted_are_listed(served, version):
    async with as_phone(served) as client:
        listed = (await client.get("/v1/models", headers=version)).json()["data"]
        assert {info["id"].removeprefix("anthropic/") for info in listed} == {
            "mine/a",
            "far/small",
            "router/cheap",
            "router/both",
        }
        assert (await client.get("/v1/models/far/small", headers=version)).status_code == 200
        assert (await client.get("/v1/models/far/large", headers=version)).status_code == 404
    everything = await served.client.get("/v1/models?limit=100", headers=version)
    assert "far/large" in everything.text


async def test_a_fallback_that_is_not_granted_is_left_out(served):
    async with as_phone(served) as client:
        answer = await client.post("/v1/messages/explain", json=request_body(model="both"))
    told = answer.json()
    assert [attempt["target"] for attempt in told["attempts"]] == ["mine/a"]
    assert "skipped `far/large`: not allowed for `phone`" in str(told["receipt"])


class Page(Plugin[NoOptions]):
    @hookimpl
    def register_routes(self):
        return [Route("/page", lambda request: JSONResponse({"mine": True}))]


async def test_nothing_but_models_is_open_to_it():
    plugins = [Page(NoOptions(), name="page"), *stack()]
    async with gateway(plugins, tokens=LIMITED) as served, as_phone(served) as client:
        assert (await served.client.get("/page")).json() == {"mine": True}
        refused = await client.get("/page")
        assert refused.status_code == 403
        assert refused.json()["error"]["type"] == "permission_error"
        health = (await client.get("/health")).json()
        assert health == {"status": "ok"}


async def test_its_conversations_are_apart_from_everybody_elses(served):
    session = {"x-claude-code-session-id": "s1"}
    found = []
    for token in (PHONE, "test-token"):
        async with as_phone(served, authorization=f"Bearer {token}", **session) as client:
            body = request_body(model="mine/a")
            answer = await client.post("/v1/messages/explain", json=body)
            found.append(answer.json()["session_id"])
    assert found == ["phone/s1", "s1"]


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        ([{"name": "a", "token": "x y", "models": ["m/*"]}], "visible ASCII"),
        ([{"name": "a", "token": "xy", "models": []}], "models"),
        ([{"name": "owner", "token": "xy", "models": ["m/*"]}], "another name"),
        ([{"name": "anonymous", "token": "xy", "models": ["m/*"]}], "another name"),
        ([{"name": "a\n", "token": "xy", "models": ["m/*"]}], "name"),
        ([{"name": "a caller=owner", "token": "xy", "models": ["m/*"]}], "name"),
        ([{"name": "<b>", "token": "xy", "models": ["m/*"]}], "name"),
        ([{"name": "A b", "token": "xy", "models": ["m/*"]}], "name"),
        ([{"name": n, "token": "xy", "models": ["m/*"]} for n in "ab"], "differ from each other"),
        ([{"name": "a", "token": t, "models": ["m/*"]} for t in ("x", "y")], "unique names"),
        ([{"name": "a", "token": "main", "models": ["m/*"]}], "differ from each other"),
    ],
)
def test_a_mistake_in_tokens_is_told_and_no_token_with_it(tokens, told):
    settings = orjson.dumps({"token": "main", "tokens": tokens}).decode()
    with pytest.raises(ConfigError) as raised:
        parse_config(f"server: {settings}\nplugins: []", "test")
    assert told in str(raised.value)
    assert "main" not in str(raised.value)
