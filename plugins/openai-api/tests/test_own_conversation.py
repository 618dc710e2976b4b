"""A client's own conversation is sent on as it came, unless the server is known to refuse it."""

import itertools

import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, respond
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message
from plugway_signature import signature

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.lenient("chat", "responses"),  # the scripts say what a server refuses
]

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
SAID = {"chat": "messages", "responses": "input"}
USER = {"role": "user", "content": "q"}
SAYS = {"role": "assistant", "content": "ok"}
MARK = signature("openai-api", "m", {"type": "redacted_thinking", "data": "x"})


def calls(id_="AbCdEf123", content=None, **more):
    call = {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}, **more}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def result(id_="AbCdEf123"):
    return {"role": "tool", "tool_call_id": id_, "content": "1"}


PAIR = [USER, calls(), result()]


def server(up, api="chat", **options):
    return build_plugin(OpenAICompatible, "up", base_url=f"{up.url}/v1", api=api, **options)


async def sent(serving, turns, api="chat", answers=(), size=1, **options):
    """The bodies that reached the server, and the one that the client wrote."""
    turns = [{**turns[0], "content": "q" * size}, *turns[1:]]
    body = {"model": "m", SAID[api]: turns}
    async with ScriptedUpstream(otherwise=respond(200, chat_message("k"))) as up:
        up.script(*answers)
        async with serving(server(up, api, **options)) as running:
            await running.gate.post(body, PATHS[api])
    return [orjson.loads(asked.body) for asked in up.requests if asked.method == "POST"], body


GOOGLE = {"google": {"thought_signature": MARK}}
OURS = {
    "reasoning": (
        "responses",
        [USER, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": MARK}],
    ),
    "what goes back with a call": ("chat", [USER, calls(extra_content=GOOGLE), result()]),
}


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(("api", "turns"), OURS.values(), ids=list(OURS))
async def test_what_only_a_gateway_understands_reaches_no_server(serving, api, turns, size):
    (asked,), body = await sent(serving, [*turns, USER], api, size=size, learn=False)
    assert MARK in orjson.dumps(body).decode()
    assert b"plugway" not in orjson.dumps(asked)
    assert len(asked[SAID[api]]) >= len(turns)


async def test_words_about_such_a_mark_are_no_mark(serving):
    told = orjson.dumps({"encrypted_content": MARK}).decode()
    (asked,), body = await sent(serving, [USER, SAYS, {**USER, "content": told}], learn=False)
    assert asked == body


THOUGHT = [USER, {**SAYS, "reasoning_content": "hm"}, USER]


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("preset", ["azure", "groq", "mistral"])
async def test_thinking_of_another_server_is_not_sent_where_it_is_refused(serving, preset, size):
    options = {"preset": preset, "learn": False, "api_key": "k" * 8}
    (asked,), _ = await sent(serving, THOUGHT, size=size, **options)
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant", "user"]
    assert b"reasoning_content" not in orjson.dumps(asked["messages"])


@pytest.mark.parametrize("preset", [None, "deepseek", "openrouter", "lmstudio"])
async def test_thinking_is_sent_on_where_it_may_be_the_servers_own(serving, preset):
    options = {"preset": preset, "learn": False, "api_key": "k" * 8}
    (asked,), body = await sent(serving, THOUGHT, **options)
    assert asked == body


LONG = "toolu_" + "x" * 60
REFUSALS = {
    "a member": (THOUGHT, "Unknown parameter: 'messages[1].reasoning_content'."),
    "an id": (
        [USER, calls(LONG), result(LONG)],
        "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum "
        "length 40, but got a string with length 66 instead.",
    ),
    "an order": ([*PAIR, USER], "Unexpected role 'user' after role 'tool'"),
    "a last turn": (
        [USER, SAYS],
        "Expected last role User or Tool (or Assistant with prefix True)",
    ),
}


def refused(message):
    return respond(
        400,
        {
            "error": {
                "message": message,
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        },
    )


@pytest.mark.parametrize(("turns", "message"), REFUSALS.values(), ids=list(REFUSALS))
async def test_a_refusal_that_taught_is_followed_by_a_translation(serving, turns, message):
    (first, second), body = await sent(serving, turns, answers=[refused(message)])
    assert first == body
    assert second["messages"] != body["messages"]


@pytest.mark.parametrize("asking", [{"n": 2}, {"logprobs": True}], ids=str)
async def test_a_refusal_of_what_cannot_be_translated_is_the_clients(serving, asking):
    message = "Unknown parameter: 'messages[1].reasoning_content'."
    async with ScriptedUpstream() as up:
        up.script(refused(message))
        async with serving(server(up)) as running:
            body = {"model": "m", "messages": THOUGHT, **asking}
            response = await running.gate.post(body, PATHS["chat"])
    assert (response.status_code, response.json()["error"]["message"]) == (400, message)
    assert len(up.requests) == 1


async def test_a_refusal_that_teaches_nothing_is_the_clients(serving):
    async with ScriptedUpstream() as up:
        up.script(refused("No."))
        async with serving(server(up)) as running:
            response = await running.gate.post({"model": "m", "messages": PAIR}, PATHS["chat"])
    assert response.json()["error"]["message"] == "No."
    assert len(up.requests) == 1


MENDED = {
    "a user after results": [*PAIR, USER],
    "a developer after results": [*PAIR, {"role": "developer", "content": "rule"}],
    "a developer at the head": [{"role": "developer", "content": "rule"}, USER],
    "instructions later on": [USER, SAYS, {"role": "system", "content": "rule"}, USER],
    "a blank turn": [USER, {**SAYS, "content": "\n"}, USER],
    "a blank part": [USER, {**SAYS, "content": [{"type": "text", "text": " "}]}, USER],
    "a turn of nothing": [USER, {**SAYS, "content": None}, USER],
    "two turns of a user": [USER, USER],
    "a beginning of the answer": [USER, SAYS],
}


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("turns", MENDED.values(), ids=list(MENDED))
async def test_an_order_that_a_strict_server_refuses_is_mended(serving, turns, size):
    (asked,), body = await sent(
        serving, turns, size=size, preset="mistral", learn=False, api_key="k" * 8
    )
    assert asked["messages"] != body["messages"]
    roles = [message["role"] for message in asked["messages"]]
    assert not {"developer"} & set(roles)
    assert ("tool", "user") not in set(itertools.pairwise(roles))
    assert roles[-1] != "assistant" or asked["messages"][-1]["prefix"] is True


KEPT = {
    "calls and results": [*PAIR, SAYS, USER],
    "calls with words": [USER, calls(content="see"), result(), SAYS, USER],
    "results at the end": PAIR,
    "two results": [USER, calls("AbCdEf123"), result("AbCdEf123"), calls("AbCdEf124"), result("AbCdEf124")],
    "a prefix": [USER, {**SAYS, "prefix": True}],
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("turns", KEPT.values(), ids=list(KEPT))
async def test_an_order_that_a_strict_server_takes_is_left_alone(serving, turns, size):
    (asked,), body = await sent(
        serving, turns, size=size, preset="mistral", learn=False, api_key="k" * 8
    )
    assert asked == body


async def test_a_server_of_which_nothing_is_known_gets_any_order(serving):
    for turns in MENDED.values():
        (asked,), body = await sent(serving, turns, learn=False)
        assert asked == body
