"""Typed tools of Responses that the client runs reach every model, and their calls the client."""

import openai.types.responses as shapes
import orjson
import pytest
from pydantic import TypeAdapter

from plugway import InvalidRequest
from plugway_openai_api._responses_request import responses_request
from plugway_translation import Notes

from test_item_store import BACKENDS, ONE, USER, running  # isort: skip

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

ITEM = TypeAdapter(shapes.ResponseOutputItem)
RAN = {"outcome": {"type": "exit", "exit_code": 2}, "stdout": "seen\n", "stderr": "bad"}
LATE = {"outcome": {"type": "timeout"}, "stdout": "", "stderr": ""}
FOUND = [
    {
        "type": "function",
        "name": "brought",
        "parameters": {"type": "object"},
        "defer_loading": True,
    },
    {
        "type": "namespace",
        "name": "git",
        "description": "d",
        "tools": [{"type": "function", "name": "log", "parameters": {"type": "object"}}],
    },
]
UPDATE = {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b"}
DELETE = {"type": "delete_file", "path": "a.py"}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds."}
EXEC = {"command": ["ls", "-l"], "working_directory": "/tmp"}
CASES = {
    "local shell": ({"type": "local_shell"}, EXEC, {"output": "seen"}, "seen"),
    "local shell, in a line": (
        {"type": "local_shell"},
        {"command": "ls"},
        {"output": "seen"},
        "seen",
    ),
    "shell": ({"type": "shell"}, {"commands": ["ls", "pwd"]}, {"output": [RAN]}, "exit code 2"),
    "shell, local": (
        {"type": "shell", "environment": {"type": "local"}},
        {"commands": ["ls"], "timeout_ms": 5},
        {"output": [RAN, LATE]},
        "timed out",
    ),
    "patch": ({"type": "apply_patch"}, UPDATE, {"status": "completed"}, "completed"),
    "patch, failed": (
        {"type": "apply_patch"},
        DELETE,
        {"status": "failed", "output": "no such file"},
        "failed: no such file",
    ),
    "search": (SEARCH, {"query": "é"}, {"execution": "client", "tools": FOUND}, "git__log"),
    "search with its own schema": (
        {**SEARCH, "parameters": {"type": "object", "properties": {"goal": {"type": "string"}}}},
        {"goal": "x"},
        {"execution": "client", "tools": []},
        "Found nothing",
    ),
}


def offered(upstream):
    body = upstream.requests[-1].json
    for tool in body.get("tools", []):
        for one in tool.get("functionDeclarations", [tool.get("function", tool)]):
            yield one["name"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_call_comes_as_its_item_and_its_output_reaches_the_model(backend, case, stream):
    tool, given, told, seen = CASES[case]
    kind = tool["type"]
    async with running(backend, [(kind, given)]) as client:
        items = await client.answer(ONE, tools=[tool], stream=stream)
        assert list(offered(client.upstream)) == [kind]
        item = items[-1]
        assert item["type"] == f"{kind}_call"
        assert item["status"] == "completed"
        ITEM.validate_python(item)
        held = item.get("operation") or item.get("action") or item["arguments"]
        wanted = given if given != {"command": "ls"} else {"command": ["bash", "-lc", "ls"]}
        assert held.items() >= wanted.items()
        output = "tool_search_output" if kind == "tool_search" else f"{kind}_call_output"
        result = {"type": output, "call_id": item["call_id"], **told}
        for said in (item, {"type": "item_reference", "id": item["id"]}):
            found = await client.post({"input": [USER, said, result], "tools": [tool]}, ONE)
            assert found.status_code == 200, found.text
            sent = orjson.dumps(client.sent).decode()
            assert seen in sent
            assert sent.count(kind) >= 1
        brought = ["brought", "git__log"] if told.get("tools") else []
        assert list(offered(client.upstream)) == [kind, *brought]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["tool_search_output", "additional_tools"])
@pytest.mark.parametrize("backend", BACKENDS)
async def test_tools_that_came_later_are_called_with_their_namespace(backend, where, stream):
    brought = {
        "tool_search_output": [
            {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {}},
            {"type": where, "call_id": "c", "execution": "client", "tools": FOUND},
        ],
        "additional_tools": [{"type": where, "role": "developer", "tools": FOUND}],
    }[where]
    async with running(backend, [("git__log", {"n": 1}), ("brought", {})]) as client:
        items = await client.answer(input=[USER, *brought], tools=[SEARCH], stream=stream)
    calls = [item for item in items if item["type"] == "function_call"]
    assert [(c.get("namespace"), c["name"]) for c in calls] == [("git", "log"), (None, "brought")]


def test_an_output_may_name_a_local_shells_item():
    call = {
        "type": "local_shell_call",
        "id": "lsh_1",
        "call_id": "c",
        "action": {"command": ["ls"]},
    }
    output = {"type": "local_shell_call_output", "id": "lsh_1", "output": "seen"}
    body = {"model": "m", "input": [USER, call, output]}
    _, called, told = responses_request(body, Notes(), max_tokens=9)["messages"]
    assert told["content"][0]["tool_use_id"] == called["content"][0]["id"]


@pytest.mark.parametrize("kind", ["shell", "apply_patch", "local_shell"])
def test_such_a_tool_can_be_demanded(kind):
    body = {"model": "m", "input": "x", "tools": [{"type": kind}], "tool_choice": {"type": kind}}
    found = responses_request(body, Notes(), max_tokens=9)
    assert found["tool_choice"] == {"type": "tool", "name": kind}


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "tool_search"},
        {"type": "tool_search", "execution": "server"},
        {"type": "shell", "environment": {"type": "container_auto"}},
        {"type": "shell", "environment": {"type": "container_reference", "container_id": "c"}},
        {"type": "web_search"},
        {"type": "code_interpreter", "container": "c"},
    ],
)
def test_what_openai_runs_is_left_out_with_a_note_and_cannot_be_demanded(tool):
    notes = Notes()
    body = {"model": "m", "input": "x", "tools": [tool]}
    assert "tools" not in responses_request(body, notes, max_tokens=9)
    assert any(tool["type"] in line for line in notes.lines())
    with pytest.raises(InvalidRequest):
        responses_request({**body, "tool_choice": {"type": tool["type"]}}, Notes(), max_tokens=9)


def test_a_function_of_that_name_is_the_clients_own():
    own = {"type": "function", "name": "shell", "parameters": {"type": "object"}}
    notes = Notes()
    body = {"model": "m", "input": "x", "tools": [{"type": "shell"}, own]}
    (only,) = responses_request(body, notes, max_tokens=9)["tools"]
    assert only["input_schema"] == {"type": "object"}
    assert any("another tool has the same name" in line for line in notes.lines())
