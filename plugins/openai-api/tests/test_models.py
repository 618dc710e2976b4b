"""OpenAI's clients get OpenAI's model list; clients of the Messages API get what they always got."""

import anthropic
import openai
import pytest

from plugway import ModelInfo
from plugway.testing import build_plugin, gateway
from plugway_echo import Echo
from plugway_openai_api import OpenAIApi
from plugway_openai_api._models import model_object
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
VERSION = {"anthropic-version": "2023-06-01"}


async def test_the_list_in_openais_shape(echo):
    listed = await echo.client.models.list()
    (model,) = listed.data
    assert (model.id, model.object, model.owned_by) == ("anthropic/echo/echo", "model", "echo")
    assert model.model_extra == {
        "context_length": 200_000,
        "max_model_len": 200_000,
        "max_output_tokens": 32_000,
    }


@pytest.mark.parametrize("id_", ["echo/echo", "anthropic/echo/echo"])
async def test_one_model_and_an_answer_from_it_by_the_same_id(echo, id_):
    model = await echo.client.models.retrieve(id_)
    assert model.id == "anthropic/echo/echo"
    found = await echo.client.responses.create(model=id_, input="hi")
    assert found.model == id_


async def test_a_model_that_is_not_there(echo):
    with pytest.raises(openai.NotFoundError) as raised:
        await echo.client.models.retrieve("gone")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models?limit=1000", "/v1/models/echo/echo", "/v1/models/gone"]
)
async def test_clients_of_the_messages_api_get_the_kernels_answer(echo, path):
    with_plugin = await echo.gate.client.get(path, headers=VERSION)
    async with gateway([build_plugin(Echo, "echo")]) as plain:
        without = await plain.client.get(path, headers=VERSION)
    answers = [dict(r.json()) for r in (with_plugin, without)]
    for answer in answers:
        answer.pop("request_id", None)
    assert with_plugin.status_code == without.status_code
    assert answers[0] == answers[1]


async def test_the_anthropic_sdk_lists_models_as_before(echo):
    async with anthropic.AsyncAnthropic(base_url=echo.gate.url, auth_token=echo.gate.token) as sdk:
        listed = await sdk.models.list()
    assert [model.id for model in listed.data] == ["anthropic/echo/echo"]


async def test_the_list_needs_a_token(echo):
    with pytest.raises(openai.AuthenticationError):
        await echo.client.with_options(api_key="wrong").models.list()


async def test_a_listed_id_goes_nowhere_else_when_its_backend_is_gone(serving):
    """And a name like OpenRouter's is the router's business."""
    here = build_plugin(Echo, "here")
    async with serving(here) as running:
        (model,) = (await running.client.models.list()).data
    table = build_plugin(Router, "router", models={"*": "cloud/echo"})
    async with serving(build_plugin(Echo, "cloud"), between=[table]) as running:
        with pytest.raises(openai.NotFoundError, match="no target for it"):
            await running.client.responses.create(model=model.id, input="private")
        await running.client.responses.create(model="vendor/model", input="hi")


def test_a_date_that_is_none_is_the_beginning():
    assert model_object(ModelInfo("a/b", created_at="soon"))["created"] == 0
    assert (
        model_object(ModelInfo("a/b", created_at="2026-01-01T00:00:00Z"))["created"] == 1767225600
    )


@pytest.mark.parametrize("method", ["retrieve", "delete", "cancel"])
async def test_responses_are_not_kept(echo, method):
    with pytest.raises(openai.NotFoundError, match="no responses are kept here"):
        await getattr(echo.client.responses, method)("resp_1")


@pytest.mark.parametrize("root", ["/v1", ""])
@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/responses/resp_1", "'resp_1' not found"),
        ("GET", "/responses/resp_1?stream=true&starting_after=4", "'resp_1' not found"),
        ("DELETE", "/responses/resp_1", "'resp_1' not found"),
        ("POST", "/responses/resp_1/cancel", "'resp_1' not found"),
        ("GET", "/responses/resp_1/input_items", "'resp_1' not found"),
        ("POST", "/responses/compact", "POST {}/responses/compact is not served here"),
        ("POST", "/responses/input_tokens", "POST {}/responses/input_tokens is not served here"),
        ("GET", "/responses/compact", "GET {}/responses/compact is not served here"),
        ("GET", "/responses", "GET {}/responses is not served here"),
        ("POST", "/conversations", "POST {}/conversations is not served here"),
        ("GET", "/conversations/conv_1/items", "is not served here"),
    ],
)
async def test_what_hangs_from_kept_responses_is_a_404_in_openais_envelope(
    serving, root, method, path, told
):
    limited = {"name": "team", "token": "team-token-team-token", "models": ["*"]}
    async with serving(build_plugin(Echo, "echo"), tokens=[limited]) as running:
        for token in (running.gate.token, "team-token-team-token"):
            lines = {"content-type": "application/json", "authorization": f"Bearer {token}"}
            response = await running.gate.client.request(
                method, root + path, headers=lines, content=b"{}" if method == "POST" else None
            )
            assert response.status_code == 404, response.text
            error = response.json()["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert error["type"] == "invalid_request_error"
            assert told.format(root) in error["message"]


async def test_a_websocket_is_refused_at_once_in_openais_envelope(echo):
    """Its handshake is a GET (RFC 6455, 4.1): after a 426 Codex goes on with POST, and does not try
    again first."""
    upgrade = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"}
    upgrade["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    for path in ("/v1/responses", "/responses"):
        response = await echo.gate.client.get(path, headers=upgrade)
        assert response.status_code == 426
        assert response.headers["upgrade"] == "HTTP/1.1"
        error = response.json()["error"]
        assert error["code"] == "websocket_not_supported"
        assert "POST /v1/responses" in error["message"]


async def test_without_the_plugin_nothing_is_served():
    async with gateway([build_plugin(Echo, "echo")]) as plain:
        response = await plain.post({"model": "m"}, "/v1/chat/completions")
    assert response.status_code == 404


def test_the_plugin_needs_no_options():
    assert build_plugin(OpenAIApi, "openai-api").options.max_tokens == 32_000


@pytest.mark.parametrize(
    "ask",
    [
        lambda sdk: sdk.moderations.create(input="hi"),
        lambda sdk: sdk.completions.create(model="echo/echo", prompt="hi"),
        lambda sdk: sdk.chat.completions.list(),
        lambda sdk: sdk.vector_stores.files.list("vs_1"),
        lambda sdk: sdk.files.delete("file-1"),
    ],
)
async def test_what_is_not_served_of_openais_api_is_told_in_its_envelope(echo, ask):
    with pytest.raises(openai.NotFoundError) as raised:
        await ask(echo.client)
    body = raised.value.body
    assert set(body) == {"message", "type", "param", "code"}
    assert (body["type"], body["code"]) == ("invalid_request_error", "unknown_url")
    assert "POST /v1/chat/completions" in body["message"]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/messages/batches", "/v1/nothing"])
async def test_clients_of_the_messages_api_are_told_in_theirs(echo, path):
    response = await echo.gate.client.get(path, headers=VERSION)
    assert response.status_code == 404
    assert response.json()["type"] == "error"


async def test_without_the_plugin_its_paths_say_that_a_plugin_is_missing():
    async with gateway([build_plugin(Echo, "echo")]) as plain:
        response = await plain.post({"model": "echo/echo"}, "/v1/chat/completions")
    assert response.status_code == 404
    assert "no plugin in the configuration serves it" in response.json()["error"]["message"]
