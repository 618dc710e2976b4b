"""A conversation that began at OpenAI goes on elsewhere with what its own tools did."""

import base64

import orjson
import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    respond,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_openai_api import OpenAIApi
from plugway_openai_api._responses_request import responses_request
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message
from plugway_translation import Notes

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

PNG = base64.b64encode(b"\x89PNG").decode()
URL = f"data:image/png;base64,{PNG}"
CONTAINER = {"type": "container_reference", "container_id": "cntr_1"}
RAN = [{"stdout": "seen-1", "stderr": "", "outcome": {"type": "exit", "exit_code": 3}}]
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}

HOSTED = {
    "web search": (
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {
                "type": "search",
                "query": "cats-1",
                "sources": [{"type": "url", "url": "https://a.example/2"}],
            },
        },
        ["cats-1", "https://a.example/2"],
    ),
    "file search": (
        {
            "type": "file_search_call",
            "id": "fs_1",
            "status": "completed",
            "queries": ["q-1"],
            "results": [{"filename": "f-2.md", "text": "said-3", "score": 0.5}],
        },
        ["q-1", "f-2.md", "said-3"],
    ),
    "code": (
        {
            "type": "code_interpreter_call",
            "id": "ci_1",
            "container_id": "cntr_1",
            "code": "print(1)",
            "outputs": [{"type": "logs", "logs": "logs-1"}, {"type": "image", "url": URL}],
        },
        ["print(1)", "logs-1", PNG],
    ),
    "an image": (
        {
            "type": "image_generation_call",
            "id": "ig_1",
            "status": "completed",
            "result": PNG,
            "revised_prompt": "a cat-1",
        },
        ["a cat-1", PNG],
    ),
    "mcp": (
        {
            "type": "mcp_call",
            "id": "mcp_1",
            "server_label": "wiki-1",
            "name": "ask-2",
            "arguments": '{"q":"q-3"}',
            "output": "told-4",
        },
        ["wiki-1", "ask-2", "q-3", "told-4"],
    ),
    "mcp that failed": (
        {
            "type": "mcp_call",
            "id": "mcp_1",
            "server_label": "w",
            "name": "n",
            "arguments": "{}",
            "error": {"type": "http_error", "code": 418, "message": "no-1"},
        },
        ["418", "no-1"],
    ),
    "an approval": (
        {
            "type": "mcp_approval_request",
            "id": "r",
            "server_label": "w-1",
            "name": "delete-2",
            "arguments": "{}",
        },
        ["w-1", "delete-2"],
    ),
    "an answer to it": (
        {
            "type": "mcp_approval_response",
            "approval_request_id": "r",
            "approve": False,
            "reason": "never-1",
        },
        ["never-1", "false"],
    ),
    "a computer": (
        {
            "type": "computer_call",
            "id": "c",
            "call_id": "call_1",
            "action": {"type": "type", "text": "hello-1"},
            "pending_safety_checks": [],
            "status": "completed",
        },
        ["hello-1"],
    ),
    "its screen": (
        {
            "type": "computer_call_output",
            "call_id": "call_1",
            "output": {"type": "computer_screenshot", "image_url": URL},
        },
        [PNG],
    ),
    "a shell in a container": (
        {
            "type": "shell_call",
            "call_id": "call_1",
            "action": {"commands": ["ls -1"]},
            "environment": CONTAINER,
        },
        ["ls -1"],
    ),
    "a search for tools": (
        {
            "type": "tool_search_call",
            "call_id": None,
            "execution": "server",
            "arguments": {"query": "mail-1"},
        },
        ["mail-1"],
    ),
    "what it found": (
        {"type": "tool_search_output", "call_id": None, "execution": "server", "tools": [LOOK]},
        ["Found: look"],
    ),
    "a program": (
        {"type": "program", "id": "p", "call_id": "c", "code": "await look()", "fingerprint": "f"},
        ["await look()"],
    ),
    "what it gave": (
        {"type": "program_output", "id": "p", "call_id": "c", "result": "gave-1"},
        ["gave-1"],
    ),
    "what is not known": ({"type": "odd_new_call", "id": "o", "wish": "w-1"}, ["w-1"]),
}
USER = {"role": "user", "content": "look"}
CANDIDATE = {"content": {"role": "model", "parts": [{"text": "k"}]}, "finishReason": "STOP"}
BACKENDS = {
    "messages": (
        lambda url: build_plugin(AnthropicCompatible, "up", base_url=url),
        anthropic_message("k"),
    ),
    "chat": (
        lambda url: build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1"),
        chat_message("k"),
    ),
    "gemini": (
        lambda url: build_plugin(Gemini, "up", base_url=url, api_key="k"),
        {"candidates": [CANDIDATE]},
    ),
}


def made(*items, **more):
    notes = Notes()
    body = {"model": "m", "input": [USER, *items, USER], **more}
    return responses_request(body, notes, max_tokens=9), notes


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_openais_tools_did_reaches_every_model(backend):
    make, answer = BACKENDS[backend]
    items = [item for item, _ in HOSTED.values()]
    async with ScriptedUpstream(otherwise=respond(200, answer)) as upstream:
        stack = [build_plugin(OpenAIApi, "openai-api"), make(upstream.url)]
        async with gateway(stack) as gate:
            body = {"model": "up/m", "input": [USER, *items, USER]}
            response = await gate.client.post("/v1/responses", json=body)
    assert response.status_code == 200, response.text
    sent = orjson.dumps(upstream.requests[-1].json).decode().replace('\\"', '"')
    missing = [word for _, words in HOSTED.values() for word in words if word not in sent]
    assert missing == []


@pytest.mark.parametrize("case", HOSTED)
def test_each_is_told_in_words_with_a_line(case):
    item, words = HOSTED[case]
    found, notes = made(item)
    told = orjson.dumps(found["messages"]).decode()
    assert all(word in told for word in [w.replace('"', '\\"') for w in words])
    assert "tool_use" not in told
    (line,) = notes.lines()
    assert line.startswith("translate input.")


def test_images_are_never_in_a_turn_of_the_assistant():
    found, _ = made(HOSTED["an image"][0], HOSTED["code"][0], HOSTED["its screen"][0])
    for message in found["messages"]:
        if message["role"] == "assistant":
            assert all(block["type"] == "text" for block in message["content"])


@pytest.mark.parametrize("kind", ["compaction", "compaction_trigger", "mcp_list_tools", "odd"])
def test_what_nobody_else_can_read_is_dropped_with_a_line(kind):
    found, notes = made({"type": kind, "id": "x", "encrypted_content": "gAAA"})
    assert b"gAAA" not in orjson.dumps(found)
    (line,) = notes.lines()
    assert line.startswith("drop input.")


def test_an_output_is_told_as_its_call_is():
    call = HOSTED["a shell in a container"][0]
    output = {"type": "shell_call_output", "call_id": "call_1", "output": RAN}
    found, notes = made(call, output)
    told = found["messages"][1]
    assert [block["type"] for block in told["content"]] == ["text", "text"]
    assert told["content"][1]["text"] == "[shell_call_output]\nseen-1\n(exit code 3)"
    assert len(notes) == 2


CALL = {"type": "tool_search_call", "call_id": "c", "arguments": {"query": "q-1"}}
OUTPUT = {"type": "tool_search_output", "call_id": "c", "tools": [LOOK]}
CLIENT = {"execution": "client"}


@pytest.mark.parametrize(
    ("call", "output"),
    [
        (CALL | CLIENT, OUTPUT | CLIENT),
        (CALL | CLIENT, OUTPUT),
        (CALL, OUTPUT | CLIENT),
        (CALL, OUTPUT),
        (CALL | CLIENT | {"arguments": '{"query": "q-1"}'}, OUTPUT),
    ],
)
def test_a_search_is_the_clients_where_one_of_the_pair_says_so_or_neither_does(call, output):
    found, _ = made(call, output, tools=[{"type": "tool_search", "execution": "client"}])
    _, called, told = found["messages"]
    assert called["content"][0]["input"] == {"query": "q-1"}
    assert told["content"][0] == {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": "Found: look",
    }
    assert [tool["name"] for tool in found["tools"]] == ["tool_search", "look"]


@pytest.mark.parametrize(
    ("item", "given"),
    [
        ({"type": "shell_call", "action": {"commands": "ls-1"}}, {"commands": "ls-1"}),
        ({"type": "shell_call", "action": {"command": ["ls-1"]}}, {"command": ["ls-1"]}),
        ({"type": "shell_call", "action": "ls-1"}, {"unparsed_arguments": "ls-1"}),
        ({"type": "shell_call", "action": ["ls-1"]}, {"unparsed_arguments": '["ls-1"]'}),
        ({"type": "local_shell_call", "action": {"type": "exec", "x": "y-1"}}, {"x": "y-1"}),
        ({"type": "apply_patch_call", "operation": {"oper": "o-1"}}, {"oper": "o-1"}),
        ({"type": "apply_patch_call", "operation": '{"path": "a"}'}, {"path": "a"}),
        (
            {"type": "tool_search_call", "execution": "client", "arguments": "q-1"},
            {"unparsed_arguments": "q-1"},
        ),
    ],
)
def test_an_action_in_another_shape_is_not_lost(item, given):
    found, _ = made({"call_id": "c", **item})
    assert found["messages"][1]["content"][0]["input"] == given


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("text-1", "text-1"),
        (["text-1"], "text-1"),
        ({"stdout": "o-1"}, '{"stdout":"o-1"}'),
        (RAN, "seen-1\n(exit code 3)"),
    ],
)
def test_an_output_in_another_shape_is_not_lost(output, told):
    call = {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}
    found, _ = made(call, {"type": "shell_call_output", "call_id": "c", "output": output})
    assert found["messages"][2]["content"][0]["content"] == told
