"""Which conversation a client of OpenAI's APIs means."""

import orjson
import pytest

from plugway import MessagesRequest, Original
from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_openai_api import OpenAIApi
from plugway_openai_api._conversation import conversation_of
from plugway_openai_compatible import OpenAICompatible


def request(headers=None, **body):
    lines = tuple((headers or {}).items())
    original = Original("openai-chat", "/v1/chat/completions", orjson.dumps(body), lines)
    return MessagesRequest(b"{}", lines, original=original)


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({"session_id": "s", "conversation_id": "c"}, {}, "s"),
        ({"conversation_id": "c"}, {"prompt_cache_key": "k"}, "c"),
        ({"x-session-affinity": "s", "x-parent-session-id": "p"}, {}, "s"),
        ({"x-opencode-session": "s"}, {}, "s"),
        ({}, {"prompt_cache_key": "k"}, "k"),
        ({}, {"prompt_cache_key": 5}, None),
        ({}, {"prompt_cache_key": ""}, None),
        ({}, {"prompt_cache_key": "k" * 201}, None),
        ({"session_id": "a\x00b"}, {}, None),
        ({}, {"user": "somebody"}, None),
        ({}, {"session_id": "s"}, "s"),
        ({"x-kilo-session": "s", "x-kilo-request": "r"}, {}, "s"),
        ({"x-kilocode-taskid": "t", "x-kilocode-mode": "code"}, {}, "t"),
        ({"x-task-id": "t", "x-client-type": "cline-sdk"}, {}, "t"),
        ({"x-openwebui-chat-id": "c", "x-openwebui-message-id": "m"}, {}, "c"),
    ],
)
def test_codex_opencode_and_others_name_it_in_their_own_ways(headers, body, wanted):
    found = conversation_of(request(headers, **body))
    assert (found.session_id if found else None) == wanted


def test_a_request_of_the_messages_api_has_no_such_field():
    assert conversation_of(MessagesRequest(b'{"prompt_cache_key":"k"}')) is None


USER = {"role": "user", "content": "hi"}
CODEX = {"thread-id": "a", "x-client-request-id": "a", "x-codex-window-id": "a:0"}
CLIENTS = {
    "Codex": ({"session-id": "s", **CODEX, "thread-id": "s"}, {}, ("s", None)),
    "an older Codex": ({"session_id": "s", "conversation_id": "s"}, {}, ("s", None)),
    "a subagent of Codex": (
        {
            "session-id": "s",
            **CODEX,
            "x-codex-parent-thread-id": "s",
            "x-openai-subagent": "review",
        },
        {},
        ("s", "a"),
    ),
    "opencode": (
        {"x-session-affinity": "s", "x-session-id": "s", "x-parent-session-id": "p"},
        {},
        ("s", None),
    ),
    "Copilot's command": ({"x-client-session-id": "s", "x-interaction-id": "i"}, {}, ("s", None)),
    "OpenHands": ({"x-litellm-session-id": "s"}, {"prompt_cache_key": "k"}, ("s", None)),
    "pi": ({}, {"prompt_cache_key": "k"}, ("k", None)),
    "nobody": ({"x-client-request-id": "r"}, {"user": "u"}, (None, None)),
}
"""Header lines and fields as the clients write them."""


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
@pytest.mark.parametrize("name", CLIENTS)
async def test_the_exchange_knows_the_conversation_of_each_client(name, path):
    headers, more, wanted = CLIENTS[name]
    said = {"input": "hi"} if "responses" in path else {"messages": [USER]}
    body = {"model": "up/m", **said, **more}
    async with ScriptedUpstream() as upstream:
        server = build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1")
        async with gateway([build_plugin(OpenAIApi, "openai-api"), server]) as gate:
            found = await gate.client.post(f"{path}/explain", json=body, headers=headers)
    told = found.json()
    assert (told["session_id"], told["agent_id"]) == wanted
