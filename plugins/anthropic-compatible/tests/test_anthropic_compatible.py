"""A server that is known by its address only."""

import pytest
from pydantic import ValidationError

from plugway.testing import (
    ERRORS,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_anthropic_compatible import AnthropicCompatible

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"messages_path": "v1/messages"}, "start with"),
        ({"messages_path": "/v1/messages?x=1"}, "without query"),
        ({"models_path": "/../admin"}, "without `..`"),
        ({"models_path": "/a b"}, "without query"),
        ({"models": [{"id": ""}]}, "at least 1 character"),
        ({"models": [{"id": "m", "window": 1}]}, "window"),
        ({"answer_seconds": 0}, "answer_seconds"),
    ],
)
def test_mistakes_in_the_options_are_named(options, reason):
    with pytest.raises(ValidationError, match=reason):
        build_plugin(AnthropicCompatible, "x", base_url="http://127.0.0.1:1", **options)


@pytest.mark.parametrize(
    ("header", "value"), [("x-api-key", "canary"), ("authorization", "Bearer canary")]
)
async def test_the_key_goes_in_the_header_that_the_server_wants(server, header, value):
    made = build_plugin(
        AnthropicCompatible, "x", base_url=server.url, api_key="canary", key_header=header
    )
    async with gateway([made]) as running:
        await running.ask("hello")
    credentials = {"x-api-key", "authorization"}
    found = {k.lower(): v for k, v in server.requests[0].headers if k.lower() in credentials}
    assert found == {header: value}


async def test_a_prefix_and_other_paths_are_used(server):
    made = build_plugin(
        AnthropicCompatible,
        "x",
        base_url=f"{server.url}/anthropic/",
        messages_path="/messages",
        models_path="/models",
    )
    server.script(respond(200, {"input_tokens": 3}), respond(200, {"data": []}))
    async with gateway([made]) as running:
        counted = await running.post(request_body(), path="/v1/messages/count_tokens")
        assert counted.json() == {"input_tokens": 3}
        await running.client.get("/v1/models")
        await running.ask("hello")
    assert [r.path for r in server.requests] == [
        "/anthropic/messages/count_tokens",
        "/anthropic/models",
        "/anthropic/messages",
    ]


async def test_models_may_be_stated(server):
    stated = ["big", {"id": "small", "context_tokens": 4096, "max_output_tokens": 512}]
    made = build_plugin(AnthropicCompatible, "mine", base_url=server.url, models=stated)
    async with gateway([made]) as running:
        listed = (await running.client.get("/v1/models")).json()["data"]
    assert [item["id"] for item in listed] == ["anthropic/mine/big", "anthropic/mine/small"]
    assert (listed[1]["max_input_tokens"], listed[1]["max_tokens"]) == (4096, 512)
    assert server.requests == []


@pytest.mark.parametrize("native", [True, False])
async def test_errors_are_the_servers_words_or_its_bytes(server, native):
    canned = ERRORS["anthropic.context_overflow"]
    server.script(canned.script())
    made = build_plugin(AnthropicCompatible, "x", base_url=server.url, native_errors=native)
    async with gateway([made]) as running:
        response = await running.post(request_body())
    assert response.status_code == 400
    assert "prompt is too long: 210000 tokens > 200000 maximum" in response.text
    assert (response.content == canned.body) is native


@pytest.mark.lenient("anthropic.known_fields")
async def test_fields_that_steer_other_gateways_stay_here(server):
    made = build_plugin(AnthropicCompatible, "x", base_url=server.url)
    steering = {"api_base": "http://evil", "api_key": "k", "custom_host": "x", "provider": "y"}
    async with gateway([made]) as running:
        await running.ask("hello", **steering, kept=1)
        explained = (
            await running.post(request_body(**steering), path="/v1/messages/explain")
        ).json()
    assert set(server.requests[0].json) == {"model", "max_tokens", "messages", "kept"}
    told = [entry["what"] for entry in explained["receipt"] if entry["plugin"] == "x"]
    assert len(told) == len(steering)
