"""The arguments of a call as servers really send them: whole, twice, longer each time.

Sources: openai/openai-agents-js#712 and microsoft/autogen#7549 (`{}` before the arguments).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, anthropic_stream, build_plugin, sse
from plugway_openai_wire.testing import chunk, data, tool_delta
from plugway_tool_repair import ToolRepair
from plugway_wire.sse import Decoder
from tests.wire.ways import PATHS, asked, between

pytestmark = pytest.mark.anyio

WANTED: dict[str, Any] = {"path": "a{}\"'", "deep": {"path": [{"path": "x"}]}}
WHOLE = json.dumps(WANTED)
GROWING = [WHOLE[:end] for end in range(1, len(WHOLE) + 1)]
PIECES = {
    "in pieces": [WHOLE[:9], WHOLE[9:20], WHOLE[20:]],
    "character by character": list(WHOLE),
    "whole": [WHOLE],
    "an empty object first": ["{}", WHOLE],
    "an empty object first, then pieces": ["{}", WHOLE[:7], WHOLE[7:30], WHOLE[30:]],
    "an empty object in two pieces": ["{", "}", WHOLE],
    "empty objects between": ["{}", "{}", WHOLE, "{}"],
    "whole twice": [WHOLE, WHOLE],
    "whole, three times": [WHOLE] * 3,
    "in pieces, then whole": [WHOLE[:9], WHOLE[9:], WHOLE],
    "in pieces, and again in pieces": [WHOLE[:9], WHOLE[9:], WHOLE[:5], WHOLE[5:]],
    "whole, written in another way": [WHOLE, json.dumps(WANTED, separators=(",", ":"))],
    "members one by one": ['{"path": "a{}\\"\'"}', WHOLE],
    "whole and an empty one in a piece": ["{}" + WHOLE],
    "blanks around": ["{}", "\n", WHOLE, "\n"],
    "closed, growing by members": ['{"path": "a{}"}', '{"path":"a{}","deep":{}}', WHOLE],
    "closed, growing from nothing": ["{}", '{"path": ""}', '{"path": "a{"}', WHOLE],
    "closed, growing lists": [WHOLE.replace('{"path": "x"}', ""), WHOLE],
    "closed, growing by what is deep": [WHOLE.replace('"x"', "null"), WHOLE],
    "closed, then the empty object": [WHOLE, "{}", "{}"],
    "closed, less and more": ['{"path": "a{}"}', "{}", WHOLE, '{"path": "a{}"}'],
    "in pieces, then grown": ['{"pa', 'th": "a{}', '"}', WHOLE],
    "in pieces, an empty object, grown": ["{", "}", '{"path": "a"}', WHOLE],
    "in pieces, then in another order": [WHOLE[:9], WHOLE[9:], json.dumps(WANTED, sort_keys=True)],
    "`null` first": ["null", WHOLE],
    "a string of JSON": [json.dumps(WHOLE)],
    "a string of JSON in pieces": [json.dumps(WHOLE)[:9], json.dumps(WHOLE)[9:]],
    "a string of JSON, twice": [json.dumps(WHOLE)] * 2,
    "an empty string of JSON first": ['""', WHOLE],
    "a string of a string of JSON": [json.dumps(json.dumps(WHOLE))],
    "an empty object, then a string of JSON": ["{}", json.dumps(WHOLE)],
}
GROWN = {
    "growing by a character": GROWING,
    "growing by seven": [*GROWING[::7], WHOLE],
    "growing by eleven, the last twice": [*GROWING[::11], WHOLE, WHOLE],
}


def chat(pieces: list[str]) -> list[Any]:
    """A stream of Chat Completions with one call."""
    first, *rest = pieces
    deltas = [tool_delta(0, first, id="call_1", type="function", name="Read")]
    deltas += [tool_delta(0, piece) for piece in rest]
    return [*(data(chunk(d)) for d in deltas), data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"]


def responses(pieces: list[str], whole: str | None = None) -> list[Any]:
    """A stream of Responses with one call; `whole` is what its last events say."""
    whole = pieces[-1] if whole is None else whole
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "Read"}
    done = {**item, "arguments": whole, "status": "completed"}
    at = {"output_index": 0, "item_id": "fc_1"}
    kind = "response.function_call_arguments"
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}},
        {"type": "response.output_item.added", **at, "item": {**item, "arguments": ""}},
        *({"type": f"{kind}.delta", **at, "delta": piece} for piece in pieces),
        {"type": f"{kind}.done", **at, "arguments": whole},
        {"type": "response.output_item.done", **at, "item": done},
        {
            "type": "response.completed",
            "response": {"id": "resp_1", "status": "completed", "output": [done]},
        },
    ]
    return [(item["type"], item) for item in told]


def anthropic(pieces: list[str]) -> list[Any]:
    """A stream of the Messages API with one call."""
    events = anthropic_stream("", tool_calls=[("Read", {})])
    at = next(n for n, (kind, _) in enumerate(events) if kind == "content_block_delta")
    last = next(n for n, (kind, _) in enumerate(events) if kind == "content_block_stop")
    deltas = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": p},
        }
        for p in pieces
    ]
    return [*events[:at], *((str(d["type"]), d) for d in deltas), *events[last:]]


STREAMS: dict[str, Callable[[list[str]], list[Any]]] = {
    "chat": chat,
    "responses": lambda pieces: responses(pieces, WHOLE),
    "anthropic-compatible": anthropic,
}
ROWS = [
    (backend, rows[name])
    for backend in STREAMS
    for rows in (PIECES, GROWN)
    for name in rows
    if backend != "anthropic-compatible"
]
IDS = [
    f"{backend}: {name}"
    for backend in STREAMS
    for rows in (PIECES, GROWN)
    for name in rows
    if backend != "anthropic-compatible"
]


def called(dialect: str, answer: dict[str, Any]) -> list[Any]:
    """The arguments of the calls in an answer."""
    if dialect == "messages":
        return [block["input"] for block in answer["content"] if block["type"] == "tool_use"]
    if dialect == "chat":
        calls = answer["choices"][0]["message"]["tool_calls"]
        return [json.loads(call["function"]["arguments"]) for call in calls]
    items = [item for item in answer["output"] if item["type"] == "function_call"]
    return [json.loads(item["arguments"]) for item in items]


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(("backend", "pieces"), ROWS, ids=IDS)
async def test_the_call_has_the_arguments_that_were_meant_after_one_request(
    backend: str, pieces: list[str], dialect: str
):
    """The client asks for a whole answer, and the server streams: its own API is read, too."""
    async with (
        ScriptedUpstream(otherwise=sse(STREAMS[backend](pieces))) as server,
        between(backend, server) as running,
    ):
        answer = await running.post(asked(dialect, schema={"type": "object"}), PATHS[dialect])
        assert answer.status_code == 200, answer.text
        assert called(dialect, answer.json()) == [WANTED]
        assert len([r for r in server.requests if r.method == "POST"]) == 1


@pytest.mark.parametrize("pieces", PIECES.values(), ids=PIECES)
async def test_a_stream_of_the_messages_api_is_mended_by_tool_repair(pieces: list[str]):
    async with (
        ScriptedUpstream(otherwise=sse(anthropic(pieces))) as server,
        between(
            "anthropic-compatible", server, [build_plugin(ToolRepair, "tool-repair")]
        ) as running,
    ):
        answer = await running.post(asked("messages", schema={"type": "object"}, stream=True))
        events = Decoder().feed(answer.content)
        told = [dict(item.data)["delta"] for item in events if item.type == "content_block_delta"]
        assert json.loads("".join(delta["partial_json"] for delta in told)) == WANTED
        assert len([r for r in server.requests if r.method == "POST"]) == 1


@pytest.mark.parametrize("backend", STREAMS)
async def test_two_calls_in_one_are_not_made_one(backend: str):
    """What came first is no part of what came last: nobody can know which one is meant."""
    pieces = ['{"path": "a"}', '{"path": "b"}']
    repair = [build_plugin(ToolRepair, "tool-repair", ask_again=False)]
    answer = (
        responses(pieces, pieces[0] + pieces[1])
        if backend == "responses"
        else STREAMS[backend](pieces)
    )
    async with (
        ScriptedUpstream(otherwise=sse(answer)) as server,
        between(backend, server, repair if backend == "anthropic-compatible" else []) as running,
    ):
        found = await running.post(asked("messages"))
        assert found.status_code != 200 or called("messages", found.json()) != [{"path": "b"}]
