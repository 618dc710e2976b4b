"""A server that refuses the client's own bytes teaches, and is asked once more by translation."""

import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, respond
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), pytest.mark.lenient("chat", "responses")]

MESSAGES = [{"role": "user", "content": "hi"}]


def refusal(message, status=400, **more):
    return respond(status, {"error": {"message": message, "type": "invalid_request_error", **more}})


def tool(number, parameters=None):
    function = {"name": f"f{number}", "parameters": parameters or {"type": "object"}}
    return {"type": "function", "function": function}


async def asked(serving, body, *scripts, times=1, learn=True):
    """Bodies that arrived, and the responses."""
    async with ScriptedUpstream(otherwise=respond(200, chat_message("Hello."))) as upstream:
        upstream.script(*scripts)
        made = build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1", learn=learn)
        async with serving(made) as running:
            sent = orjson.dumps({"model": "up/gpt", "messages": MESSAGES, **body})
            told = [await running.gate.post(sent, "/v1/chat/completions") for _ in range(times)]
        return [request.json for request in upstream.requests if request.body], told


TAUGHT = {
    "a number of tools": (
        {"tools": [tool(number) for number in range(130)]},
        refusal("'tools' : maximum number of items is 128"),
        lambda sent: len(sent["tools"]) == 128,
    ),
    "a field": (
        {"temperature": 0.5},
        refusal("Unsupported parameter: 'temperature' is not supported with this model.",
                param="temperature", code="unsupported_parameter"),
        lambda sent: "temperature" not in sent,
    ),
    "a field that only this API has": (
        {"seed": 7},
        refusal("Unsupported parameter: 'seed' is not supported with this model.",
                param="seed", code="unsupported_parameter"),
        lambda sent: "seed" not in sent,
    ),
    "the name of a field": (
        {"max_tokens": 50},
        refusal("Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.", param="max_tokens",
                code="unsupported_parameter"),
        lambda sent: (sent.get("max_completion_tokens"), sent.get("max_tokens")) == (50, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "script", "heeded"), TAUGHT.values(), ids=TAUGHT)
async def test_what_a_refusal_teaches_is_heeded_at_once_and_from_then_on(
    serving, body, script, heeded
):
    sent, told = await asked(serving, body, script, times=2)
    assert [response.status_code for response in told] == [200, 200]
    assert len(sent) == 3
    assert sent[0] == {"model": "gpt", "messages": MESSAGES, **body}
    assert heeded(sent[1])
    assert heeded(sent[2])
    assert all(one["messages"] == MESSAGES for one in sent)
    assert told[0].json()["choices"][0]["message"]["content"] == "Hello."
    assert "changes=0" not in told[0].headers["plugway-receipt"]


async def test_a_limit_that_the_client_did_not_give_is_not_made_up(serving):
    sent, _ = await asked(serving, TAUGHT["a field"][0], TAUGHT["a field"][1])
    assert not sent[1].keys() & {"max_tokens", "max_completion_tokens"}


async def test_what_was_not_refused_goes_on_as_the_client_wrote_it(serving):
    body = {"tools": [tool(number) for number in range(130)]}
    script = TAUGHT["a number of tools"][1]
    async with ScriptedUpstream(otherwise=respond(200, chat_message("Hello."))) as upstream:
        upstream.script(script)
        made = build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1")
        async with serving(made) as running:
            for more in (body, {"tools": [tool(1)], "seed": 7}):
                sent = orjson.dumps({"model": "up/gpt", "messages": MESSAGES, **more})
                await running.gate.post(sent, "/v1/chat/completions")
    assert upstream.requests[-1].json == {"model": "gpt", "messages": MESSAGES, "tools": [tool(1)], "seed": 7}  # fmt: skip


GIVEN_UP = {
    "it teaches nothing": ({}, refusal("Something is odd."), True),
    "more would be lost": ({"temperature": 0.5, "n": 2}, TAUGHT["a field"][1], True),
    "nothing is to be learnt": ({"temperature": 0.5}, TAUGHT["a field"][1], False),
}


@pytest.mark.parametrize(("body", "script", "learn"), GIVEN_UP.values(), ids=GIVEN_UP)
async def test_a_refusal_reaches_the_client_where_translating_does_not_help(
    serving, body, script, learn
):
    sent, (told,) = await asked(serving, body, script, learn=learn)
    assert len(sent) == 1
    assert told.status_code == 400


async def test_a_second_refusal_is_the_last(serving):
    script = TAUGHT["a field"][1]
    sent, (told,) = await asked(serving, {"temperature": 0.5}, script, refusal("No."), script)
    assert len(sent) == 2
    assert told.json()["error"]["message"] == "`up`: No."
