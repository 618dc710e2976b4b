"""An error that a server sends with status 200 is a failure for every client, so that the next target
is tried and the client is told a status."""

from __future__ import annotations

import json

import pytest

from plugway.testing import ScriptedUpstream, respond

from .ways import PATHS, asked, between

pytestmark = pytest.mark.anyio

CHAT = {
    "an error": {"error": {"message": "no capacity", "code": 502}},
    "beside no choices": {"error": {"message": "no capacity", "code": 503}, "choices": []},
    "beside null": {"error": {"message": "no capacity"}, "choices": None},
    "beside a silent choice": {
        "error": {"message": "no capacity", "code": 502},
        "choices": [{"finish_reason": "error", "message": {"role": "assistant", "content": ""}}],
    },
    "several": {"errors": [{"message": "no capacity"}]},
    "MiniMax's": {"base_resp": {"status_code": 1008, "status_msg": "balance"}, "choices": None},
    "a detail": {"detail": "no capacity"},
    "a code": {"code": 500, "success": False, "msg": "no capacity"},
    "nothing": {},
    "no choices": {"id": "x", "object": "chat.completion", "choices": []},
}
RESPONSES = {
    name: CHAT[name]
    for name in ("an error", "several", "MiniMax's", "a detail", "a code", "nothing")
}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(
    ("backend", "said"),
    [("chat", said) for said in CHAT.values()]
    + [("responses", said) for said in RESPONSES.values()],
    ids=[f"chat, {name}" for name in CHAT] + [f"responses, {name}" for name in RESPONSES],
)
async def test_it_is_a_failure_for_every_client(backend, said, dialect):
    script = respond(200, json.dumps(said).encode(), {"content-type": "application/json"})
    async with ScriptedUpstream(otherwise=script) as server, between(backend, server) as running:
        answer = await running.post(asked(dialect), PATHS[dialect])
    assert answer.status_code >= 500
    assert answer.json()["error"]["message"]


async def test_what_a_model_said_before_its_server_failed_reaches_a_client_of_the_same_api():
    message = {"role": "assistant", "content": "Hello."}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    said = {"id": "x", "model": "m", "choices": choices, "error": {"message": "cut", "code": 502}}
    script = respond(200, json.dumps(said).encode(), {"content-type": "application/json"})
    async with ScriptedUpstream(otherwise=script) as server, between("chat", server) as running:
        answer = await running.post(asked("chat"), PATHS["chat"])
    assert answer.status_code == 200
    assert "Hello." in answer.text
