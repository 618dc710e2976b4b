"""Counts are read wherever a server puts them, and a stream begins with an estimate.

Sources: Groq's SDK (`x_groq`), Moonshot's API reference (`choices[0].usage`), badlogic/pi-mono#2017.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, sse
from plugway_openai_wire.testing import chunk, data
from plugway_wire.sse import Decoder
from tests.wire.ways import PATHS, asked, between

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 1234, "completion_tokens": 56, "total_tokens": 1290}


def last(**choice: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **choice}]}


PLACES: dict[str, list[dict[str, Any]]] = {
    "in a chunk of its own": [last(), {"id": "c", "choices": [], "usage": USAGE}],
    "in the last chunk": [{**last(), "usage": USAGE}],
    "in the choice": [last(usage=USAGE)],
    "in the delta": [last(delta={"usage": USAGE})],
    "in x_groq": [{**last(), "x_groq": {"id": "r", "usage": USAGE}}],
    "null in the chunk, in the choice": [{**last(usage=USAGE), "usage": None}],
    "in the choice of a chunk that follows": [last(), last(finish_reason=None, usage=USAGE)],
}


@pytest.mark.parametrize("dialect", [name for name in PATHS if name != "chat"])
@pytest.mark.parametrize("chunks", PLACES.values(), ids=PLACES)
async def test_the_counts_are_read_where_they_are(chunks: list[dict[str, Any]], dialect: str):
    events = [data(chunk({"content": "Hi"})), *map(data, chunks), b"data: [DONE]\n\n"]
    async with (
        ScriptedUpstream(otherwise=sse(events)) as server,
        between("chat", server) as running,
    ):
        usage = (await running.post(asked(dialect), PATHS[dialect])).json()["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (1234, 56)


async def test_a_stream_begins_with_an_estimate_of_the_prompt():
    events = [data(chunk({"content": "Hi"})), data({**last(), "usage": USAGE}), b"data: [DONE]\n\n"]
    async with (
        ScriptedUpstream(otherwise=sse(events)) as server,
        between("chat", server) as running,
    ):
        body = asked("messages", stream=True)
        found = Decoder().feed((await running.post(body)).content)
        told = {item.type: dict(item.data) for item in found}
        start = told["message_start"]["message"]["usage"]["input_tokens"]
        sent = server.requests[0].json
        size = len(json.dumps([sent["messages"], sent["tools"]]))
        assert size // 8 < start < size // 2
        assert told["message_delta"]["usage"]["input_tokens"] == 1234
