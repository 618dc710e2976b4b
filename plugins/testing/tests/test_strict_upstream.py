"""A strict upstream on a socket: the vendor's envelope for a fault, the script for the rest."""

import httpx2
import pytest
from strict_asks import GOOGLE, MESSAGES, OPENAI

from plugway.testing import ScriptedUpstream, StrictUpstream, api_of, checking, respond

pytestmark = pytest.mark.anyio
BODIES = {
    "anthropic": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "m", "input": "hi"},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
PATHS = {
    "anthropic": "/v1/messages?beta=true",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
}
LINES = {"anthropic": MESSAGES, "chat": OPENAI, "responses": OPENAI, "gemini": GOOGLE}
INVALID = "invalid_request_error"
OF_OPENAI = {
    "error": {
        "message": "Unknown parameter: 'x'.",
        "type": INVALID,
        "param": "x",
        "code": "unknown_parameter",
    }
}
ENVELOPES = {
    "anthropic": {
        "type": "error",
        "error": {"type": INVALID, "message": "x: Extra inputs are not permitted"},
        "request_id": "req_strict",
    },
    "chat": OF_OPENAI,
    "responses": OF_OPENAI,
    "gemini": {
        "error": {
            "code": 400,
            "message": 'Invalid JSON payload received. Unknown name "x": Cannot find field.',
            "status": "INVALID_ARGUMENT",
        }
    },
}


async def post(upstream, api, **more):
    async with httpx2.AsyncClient() as client:
        body = {**BODIES[api], **more}
        return await client.post(f"{upstream.url}{PATHS[api]}", json=body, headers=LINES[api])


@pytest.mark.parametrize("api", BODIES)
async def test_a_fault_is_answered_in_the_vendors_envelope_and_takes_no_script(api):
    async with StrictUpstream(api, respond(200, {"scripted": True})) as upstream:
        bad = await post(upstream, api, x=1)
        good = await post(upstream, api)
    assert (bad.status_code, bad.json()) == (400, ENVELOPES[api])
    assert good.json() == {"scripted": True}
    assert len(upstream.refused) == 1
    assert len(upstream.requests) == 2


async def test_rules_that_are_left_out_refuse_nothing():
    async with StrictUpstream("chat", without=["known_fields"]) as upstream:
        assert (await post(upstream, "chat", x=1)).status_code == 200
    assert upstream.refused == []


async def test_other_paths_are_not_looked_at():
    async with (
        StrictUpstream("chat", otherwise=respond(200, {"data": []})) as upstream,
        httpx2.AsyncClient() as client,
    ):
        assert (await client.get(f"{upstream.url}/v1/models")).json() == {"data": []}
        assert (await client.post(f"{upstream.url}/v1/embeddings", json={})).status_code == 200


async def test_a_missing_key_is_401_and_no_json_is_400():
    async with StrictUpstream("anthropic") as upstream, httpx2.AsyncClient() as client:
        url = f"{upstream.url}/v1/messages"
        lines = {"anthropic-version": "2023-06-01"}
        bad = await client.post(url, json=BODIES["anthropic"], headers=lines)
        none = await client.post(url, content=b"{", headers=MESSAGES)
    assert (bad.status_code, bad.json()["error"]["type"]) == (401, "authentication_error")
    assert none.status_code == 400


async def test_checking_looks_at_every_upstream_and_changes_no_answer():
    with checking() as found:
        async with ScriptedUpstream(otherwise=respond(200, {})) as upstream:
            assert (await post(upstream, "chat", x=1)).status_code == 200
            await post(upstream, "gemini")
    assert found == ["/v1/chat/completions: Unknown parameter: 'x'."]
    async with ScriptedUpstream(otherwise=respond(200, {})) as upstream:
        await post(upstream, "chat", x=1)
    assert len(found) == 1


@pytest.mark.parametrize("without", ["known_fields", "chat.known_fields", "chat"])
async def test_checking_leaves_out_a_rule_or_an_api(without):
    with checking(without=[without]) as found:
        async with ScriptedUpstream(otherwise=respond(200, {})) as upstream:
            await post(upstream, "chat", x=1)
            await post(upstream, "gemini", contents=[])
    assert len(found) == 1
    assert "contents is not specified" in found[0]


def test_a_path_tells_its_api():
    assert {api_of(path): path for path in PATHS.values()} == PATHS
    assert api_of("/v1/models") is None
