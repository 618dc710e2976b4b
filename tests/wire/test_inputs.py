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
    "a list": [WANTED],
    "an empty list": [],
    "a number": 1,
    "`false`": False,
    "text of a list": "[1]",
    "text of a number": "7",
    "a text that is no JSON": "path=a",
    "text in text of a list": json.dumps("[1]"),
    "text in text, far too deep": json.dumps(json.dumps(json.dumps("x" * 9))),
}


def chat(given: Any) -> tuple[list[Any], list[Any]]:
    entry = {"index": 0, "id": "c", "function": {"name": "Read", "arguments": given}}
    delta = data(chunk({"tool_calls": [entry]}))
    message = {"role": "assistant", "content": None, "tool_calls": [entry]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    ended = [delta, data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"]
    return sse(ended), respond(200, {"object": "chat.completion", "choices": [choice]})


def responses(given: Any) -> tuple[list[Any], list[Any]]:
    item = {"type": "function_call", "id": "f", "call_id": "c", "name": "Read", "arguments": given}
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


def gemini(given: Any) -> tuple[list[Any], list[Any]]:
    parts = [{"functionCall": {"name": "Read", "args": given}}]
    whole = {"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}
    return sse([data(whole)]), respond(200, whole)


def anthropic(given: Any) -> tuple[list[Any], list[Any]]:
    block = {"type": "tool_use", "id": "c", "name": "Read", "input": given}
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


SERVERS: dict[str, Callable[[Any], tuple[list[Any], list[Any]]]] = {
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
