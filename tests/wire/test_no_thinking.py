"""A wish for no thinking reaches servers that think by default, until they refuse the field."""

from __future__ import annotations

import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_openai_api import OpenAIApi
from tests.receipts.servers import answer
from tests.wire.adapted import PLUGINS

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.lenient("anthropic.known_fields"),  # of servers that are none of Anthropic's
]

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
OFF = {"enable_thinking": False}
TEMPLATED = ["llama-server", "vllm"]
REASONS = {"models": [{"key": "m", "type": "llm", "capabilities": {"reasoning": {"default": "on"}}}]}  # fmt: skip
SAID = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def sent(server, bodies, *, path=MESSAGES, words="", field="thinking"):
    """The bodies that the server got; it refuses those with `field` if there are `words`."""
    got, statuses = [], []

    def otherwise(request):
        if request.path == "/api/v1/models":
            return respond(200, REASONS)
        if request.method == "GET" or "/api/" in request.path:
            return answer(request)
        got.append(request.json)
        if words and field in request.json:
            return respond(400, {"error": {"message": words, "type": "invalid_request_error"}})
        return respond(200, anthropic_message())

    async with ScriptedUpstream(otherwise=otherwise) as upstream:
        plugin = PLUGINS[server](upstream.url)
        async with gateway([build_plugin(OpenAIApi, "openai-api"), plugin]) as running:
            if server == "lmstudio":
                await plugin.backend.models()
            statuses = [(await running.post(body, path)).status_code for body in bodies]
    assert statuses == [200] * len(bodies)
    return got


@pytest.mark.parametrize(
    "words",
    [
        "Unrecognized key(s) in object: 'thinking'",
        'json: unknown field "thinking"',
        "thinking: Extra inputs are not permitted",
    ],
)
async def test_a_field_that_the_server_refused_is_not_added_again(words):
    body = request_body(model="m")
    got = await sent("lmstudio", [body, body], words=words)
    assert ["thinking" in body for body in got] == [True, False, False]


async def test_template_variables_that_the_server_refused_are_not_added_again():
    body = request_body(model="m", thinking={"type": "disabled"})
    words = "chat_template_kwargs: Extra inputs are not permitted"
    got = await sent("vllm", [body, body], words=words, field="chat_template_kwargs")
    assert ["chat_template_kwargs" in body for body in got] == [True, False, False]
    assert got[-1]["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize("server", TEMPLATED)
async def test_a_wish_of_a_chat_client_reaches_the_template(server):
    [body] = await sent(server, [{**SAID, "reasoning_effort": "none"}], path=CHAT)
    assert body["chat_template_kwargs"] == OFF
    assert "thinking" not in body


@pytest.mark.parametrize("server", TEMPLATED)
async def test_a_chat_client_that_does_not_say_gets_the_default_of_the_model(server):
    [body] = await sent(server, [SAID], path=CHAT)
    assert "chat_template_kwargs" not in body


@pytest.mark.parametrize("server", TEMPLATED)
@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"foo": 1}, {"foo": 1, **OFF}),
        ({"enable_thinking": True}, {"enable_thinking": True}),
        (None, OFF),
    ],
)
async def test_the_clients_own_template_variables_stay(server, own, told):
    body = request_body(model="m", thinking={"type": "disabled"}, chat_template_kwargs=own)
    [got] = await sent(server, [body])
    assert got["chat_template_kwargs"] == told


async def test_null_is_no_request_for_thinking():
    [body] = await sent("lmstudio", [request_body(model="m", thinking=None)])
    assert body["thinking"] == {"type": "disabled"}
