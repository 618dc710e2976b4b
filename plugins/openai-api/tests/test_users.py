"""Who asks is told to each server within its limits, and to all of OpenAI's by the same hash."""

import json

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic import Anthropic
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

LONGEST = 128
"""`safety_identifier`: `types/responses/response_create_params.py` of the `openai` SDK."""
USERS = {
    "Claude Code": f"user_{'a' * 64}_account_{'b' * 36}_session_{'c' * 36}",
    "another session": f"user_{'a' * 64}_account_{'b' * 36}_session_{'d' * 36}",
    "an object": json.dumps({"device_id": "a" * 64, "session_id": "c" * 36}),
    "another session of it": json.dumps({"device_id": "a" * 64, "session_id": "d" * 36}),
    "no object": "{" + "a" * 200,
    "short": "u_1",
    "long": "u" * 600,
}
MESSAGE = {"type": "message", "id": "m", "role": "assistant", "status": "completed"}
MESSAGE["content"] = [{"type": "output_text", "text": "Yes.", "annotations": []}]
RESPONSE = {"id": "r", "object": "response", "status": "completed", "output": [MESSAGE]}
RESPONSE |= {"model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}
WAYS = {
    "openai-chat": (OpenAI, {"api": "chat"}, "safety_identifier"),
    "openai-responses": (OpenAI, {"api": "responses"}, "safety_identifier"),
    "openrouter": (OpenAICompatible, {"preset": "openrouter"}, "user"),
}


async def told(way, user):
    plugin, options, field = WAYS[way]
    answer = RESPONSE if options.get("api") == "responses" else chat_message("Yes.")
    async with ScriptedUpstream(otherwise=respond(200, answer)) as up:
        made = build_plugin(plugin, "up", base_url=f"{up.url}/v1", api_key="k", **options)
        async with gateway([made]) as gate:
            response = await gate.post(request_body(model="up/m", metadata={"user_id": user}))
        assert response.status_code == 200, response.text
        return up.requests[-1].json[field]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("user", USERS.values(), ids=list(USERS))
async def test_a_user_is_a_hash_that_fits(way, user):
    found = await told(way, user)
    assert 0 < len(found) <= LONGEST
    assert user not in found


@pytest.mark.parametrize("user", USERS.values(), ids=list(USERS))
async def test_the_hash_is_the_same_on_all_ways(user):
    assert len({await told(way, user) for way in WAYS}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("Claude Code", "another session"), ("an object", "another session of it")],
)
async def test_the_hash_is_of_the_user_and_not_of_the_conversation(one, other):
    assert await told("openrouter", USERS[one]) == await told("openrouter", USERS[other])
    assert await told("openrouter", USERS[one]) != await told("openrouter", USERS["short"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("field", ["user", "safety_identifier"])
@pytest.mark.parametrize(("length", "kept"), [(1, 1), (256, 256), (257, 64), (5000, 64)])
async def test_anthropic_gets_a_user_of_256_characters_at_most(path, field, length, kept):
    body = {"model": "up/claude-sonnet-4-5", field: "u" * length}
    said = [{"role": "user", "content": "hi"}]
    body |= {"messages": said} if "chat" in path else {"input": said}
    async with ScriptedUpstream() as up:
        made = build_plugin(Anthropic, "up", base_url=up.url, api_key="k")
        async with gateway([build_plugin(OpenAIApi, "openai-api"), made]) as gate:
            await gate.client.post(path, json=body)
    assert len(up.requests[-1].json["metadata"]["user_id"]) == kept
