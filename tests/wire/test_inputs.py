"""Inputs of calls in every form in which servers give them, and those that are no object.

The APIs: `arguments` is JSON text in Chat and Responses (`chat_completion_message_tool_call.py` and
`response_function_tool_call.py` of the `openai` SDK), `args` an object in Gemini's `FunctionCall`,
`input` an object in the Messages API. Ollama's own form has objects in Chat's place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, respond, sse
from plugway_openai_wire.testing import chunk, data
from plugway_tool_repair import ToolRepair
from tests.wire.ways import PATHS, asked, between, calls_in

pytestmark = pytest.mark.anyio

WANTED = {"path": 'a{"b\\'}
TEXT = json.dumps(WANTED)
OBJECTS: dict[str, tuple[Any, Any]] = {
    "an object": (WANTED, WANTED),
    "text": (TEXT, WANTED),
    "text with blanks around": (f"\n {TEXT}\n", WANTED),
    "text in text": (json.dumps(TEXT), WANTED),
    "text in text in text": (json.dumps(json.dumps(TEXT)), WANTED),
    "empty": ({}, {}),
    "empty text": ("", {}),
    "the text of an empty object": ("{}", {}),
    "null": (None, {}),
    "the text `null`": ("null", {}),
    "text in which half a character stands": ('{"path": "a\\ud83d"}', {"path": "a\ufffd"}),
}
WRONG: dict[str, Any] = {
    "a list of two": [WANTED, WANTED],
    "an empty list": [],
    "a number": 1,
    "`false`": False,
    "text of a list": "[1]",
    "text of a number": "7",
    "a text that is no JSON": "path=a",
    "text in text of a list": json.dumps("[1]"),
    "text in text, far too deep": json.dumps(json.dumps(json.dumps("x" * 9))),
}


def chat(given: Any, name: str = "Read") -> tuple[list[Any], list[Any]]:
    entry = {"index": 0, "id": "c", "function": {"name": name, "arguments": given}}
    delta = data(chunk({"tool_calls": [entry]}))
    message = {"role": "assistant", "content": None, "tool_calls": [entry]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    ended = [delta, data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"]
    return sse(ended), respond(200, {"object": "chat.completion", "choices": [choice]})


def responses(given: Any, name: str = "Read") -> tuple[list[Any], list[Any]]:
    item = {"type": "function_call", "id": "f", "call_id": "c", "name": name, "arguments": given}
    at = {"output_index": 0, "item_id": "f"}
    whole = {"id": "r", "object": "response", "status": "completed", "output": [item]}
    told = [
        {"type": "response.created", "response": {"id": "r"}},
        {"type": "response.output_item.added", **at, "item": {**item, "arguments": ""}},
        {"type": "response.function_call_arguments.done", **at, "arguments": given},
        {"type": "response.output_item.done", **at, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return sse([data(event) for event in told]), respond(200, whole)


def gemini(given: Any, name: str = "Read") -> tuple[list[Any], list[Any]]:
    parts = [{"functionCall": {"name": name, "args": given}}]
    whole = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    return sse([data(whole)]), respond(200, whole)


def anthropic(given: Any, name: str = "Read") -> tuple[list[Any], list[Any]]:
    block = {"type": "tool_use", "id": "c", "name": name, "input": given}
    usage = {"input_tokens": 1, "output_tokens": 1}
    whole = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [block]}
    whole |= {"stop_reason": "tool_use", "stop_sequence": None, "usage": usage}
    text = given if isinstance(given, str) else json.dumps(given)
    told: list[tuple[str, dict[str, Any]]] = [
        ("message_start", {"message": {**whole, "content": [], "stop_reason": None}}),
        ("content_block_start", {"index": 0, "content_block": {**block, "input": {}}}),
        (
            "content_block_delta",
            {"index": 0, "delta": {"type": "input_json_delta", "partial_json": text}},
        ),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": usage}),
        ("message_stop", {}),
    ]
    return sse([(kind, {"type": kind, **fields}) for kind, fields in told]), respond(200, whole)


SERVERS: dict[str, Callable[..., tuple[list[Any], list[Any]]]] = {
    "chat": chat,
    "responses": responses,
    "gemini": gemini,
    "anthropic-compatible": anthropic,
}
WAYS = [
    (backend, dialect, streams, stream)
    for backend in SERVERS
    for dialect in PATHS
    for streams in (False, True)
    for stream in (False, True)
    # Bytes of the server's own stream, or of its own API, go to the client as they are.
    if backend != dialect and not (backend == "gemini" and streams is not stream)
]


@pytest.mark.parametrize(("backend", "dialect", "streams", "stream"), WAYS)
async def test_an_input_that_means_an_object_is_that_object(
    backend: str, dialect: str, streams: bool, stream: bool
):
    repair = [build_plugin(ToolRepair, "tool-repair")] if backend.startswith("anth") else []
    answer: list[Any] = []
    async with (
        ScriptedUpstream(otherwise=lambda _: answer) as server,
        between(backend, server, repair) as running,
    ):
        for name, (given, wanted) in OBJECTS.items():
            answer = SERVERS[backend](given)[0 if streams else 1]
            body = asked(dialect, schema={"type": "object"}, stream=stream)
            found = await running.post(body, PATHS[dialect])
            assert found.status_code == 200, (name, found.text)
            calls = calls_in(dialect, found.text, stream=stream)
            assert [given for _, _, given in calls] == [wanted], name


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("backend", SERVERS)
async def test_an_input_that_is_no_object_is_an_error_and_never_an_empty_one(
    backend: str, streams: bool
):
    answer: list[Any] = []
    async with (
        ScriptedUpstream(otherwise=lambda _: answer) as server,
        between(backend, server) as running,
    ):
        for name, given in WRONG.items():
            answer = SERVERS[backend](given)[0 if streams and backend != "gemini" else 1]
            found = await running.post(asked("messages"))
            assert found.status_code == 502, (name, found.text)
            assert "the arguments of the call in block 0 are not" in found.text, name


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("backend", SERVERS)
async def test_the_model_is_asked_again_for_an_input_that_is_no_object(backend: str, stream: bool):
    repair = [build_plugin(ToolRepair, "tool-repair")]
    answers: list[list[Any]] = []
    async with (
        ScriptedUpstream(
            otherwise=lambda r: answers.pop(0) if r.method == "POST" else []
        ) as server,
        between(backend, server, repair) as running,
    ):
        for name, given in WRONG.items():
            answers[:] = [SERVERS[backend](g)[0 if stream else 1] for g in (given, WANTED)]
            body = asked("messages", schema={"type": "object"}, stream=stream)
            found = await running.post(body)
            assert found.status_code == 200, (name, found.text)
            calls = calls_in("messages", found.text, stream=stream)
            assert [input_ for _, _, input_ in calls] == [WANTED], name
            assert not answers, name
            assert "must be a JSON object" in json.dumps(server.requests[-1].json) or (
                "not valid JSON" in json.dumps(server.requests[-1].json)
            ), name


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("backend", SERVERS)
async def test_a_list_of_one_object_is_that_object(backend: str, stream: bool):
    repair = [build_plugin(ToolRepair, "tool-repair")]
    answer = SERVERS[backend]([WANTED])[0 if stream else 1]
    async with (
        ScriptedUpstream(otherwise=lambda r: answer if r.method == "POST" else []) as server,
        between(backend, server, repair) as running,
    ):
        found = await running.post(asked("messages", schema={"type": "object"}, stream=stream))
    assert found.status_code == 200, found.text
    calls = calls_in("messages", found.text, stream=stream)
    assert [input_ for _, _, input_ in calls] == [WANTED]
    assert sum(request.method == "POST" for request in server.requests) == 1


ACTIONS: dict[str, list[Any]] = {
    "shell": [
        "{",
        "[1]",
        "ls",
        "{}",
        '{"commands": []}',
        '{"commands": [["ls"]]}',
        {"command": "ls"},
    ],
    "local_shell": [
        "{",
        "[1]",
        "ls",
        "{}",
        '{"command": ""}',
        '{"command": [null]}',
        {"commands": []},
    ],
    "apply_patch": [
        "{",
        "*** Begin Patch",
        {"type": "update_file", "path": "a"},
        {"type": "create_file", "diff": "+a"},
        {"type": "rename_file", "path": "a", "diff": "+a"},
    ],
    "tool_search": ["{", "[1]", "query"],
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("backend", [name for name in SERVERS if name != "responses"])
async def test_an_action_that_cannot_be_read_is_an_error_and_never_an_empty_action(
    backend: str, kind: str, stream: bool
):
    tool = {"type": kind, **({"execution": "client"} if kind == "tool_search" else {})}
    answer: list[Any] = []
    async with (
        ScriptedUpstream(otherwise=lambda _: answer) as server,
        between(backend, server) as running,
    ):
        for given in ACTIONS[kind]:
            answer = SERVERS[backend](given, kind)[0 if stream else 1]
            body = {**asked("responses", stream=stream), "tools": [tool]}
            found = await running.post(body, PATHS["responses"])
            assert f'"{kind}_call"' not in found.text, given
            failed = '"status":"failed"' in found.text and f"`{kind}`" in found.text
            # A whole answer whose arguments are no object is refused before that.
            assert failed or found.status_code == 502, (given, found.text)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_the_model_is_asked_again_for_an_action_that_says_nothing(stream: bool):
    repair = [build_plugin(ToolRepair, "tool-repair")]
    answers: list[list[Any]] = []
    async with (
        ScriptedUpstream(
            otherwise=lambda r: answers.pop(0) if r.method == "POST" else []
        ) as server,
        between("chat", server, repair) as running,
    ):
        for given in ("{", "[1]", "{}"):
            told = [chat(g, "shell") for g in (given, '{"commands": ["ls", 5]}')]
            answers[:] = [pair[0 if stream else 1] for pair in told]
            body = {**asked("responses", stream=stream), "tools": [{"type": "shell"}]}
            found = await running.post(body, PATHS["responses"])
            assert found.status_code == 200, found.text
            assert '"commands":["ls","5"]' in found.text, given


async def test_the_input_of_a_custom_tool_is_what_the_model_wrote():
    tool = {"type": "custom", "name": "patch"}
    answer = chat("*** Begin Patch", "patch")[0]
    async with ScriptedUpstream(otherwise=answer) as server, between("chat", server) as running:
        body = {**asked("responses", stream=True), "tools": [tool]}
        found = await running.post(body, PATHS["responses"])
        assert '"input":"*** Begin Patch"' in found.text
