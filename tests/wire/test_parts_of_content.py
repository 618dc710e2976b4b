"""A `content` of parts, as Mistral's models that think write it (BerriAI/litellm#16272).

A client of Chat Completions gets a text, and the thinking in `reasoning_content`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import Plugin
from plugway.testing import ScriptedUpstream, build_plugin, parse_sse, respond, sse
from plugway_openai_wire.chat._parts import PlainContent
from plugway_openai_wire.testing import chat_message, chunk, data
from plugway_tool_repair import ToolRepair
from tests.receipts.servers import Receipts
from tests.wire.ways import PATHS, asked, between

pytestmark = pytest.mark.anyio


def thinking(words: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}]}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


REFERENCE = {"type": "reference", "reference_ids": [1]}
DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": ""},
    {"content": [thinking("Hm")]},
    {"content": [thinking(", so.")]},
    {"content": [text('Say "content": [1]'), REFERENCE]},
    {"content": ' and "content": [2]'},
]
SAID = 'Say "content": [1] and "content": [2]'
STREAM = b"".join([*(data(chunk(d)) for d in DELTAS), data(chunk({}, "stop")), b"data: [DONE]\n\n"])


async def answered(answer: Any, *, stream: bool, tools: bool, repair: bool) -> tuple[Any, str]:
    receipts = Receipts()
    others: list[Plugin[Any]] = [receipts]
    others += [build_plugin(ToolRepair, "tool-repair")] if repair else []
    body = asked("chat", stream=stream)
    body = body if tools else {k: v for k, v in body.items() if k != "tools"}
    async with ScriptedUpstream(otherwise=answer) as server, between("chat", server, others) as on:
        got = await on.post(body, PATHS["chat"])
        await receipts.done.wait()
    assert got.status_code == 200, got.text
    return got, "\n".join(receipts.lines)


@pytest.mark.parametrize("repair", [True, False])
@pytest.mark.parametrize("tools", [True, False])
@pytest.mark.parametrize("size", [None, 1, 7, 64, 200])
async def test_a_stream_has_texts(size, tools, repair):
    """However it is cut."""
    answer = sse([STREAM], chunk_sizes=None if size is None else [size])
    got, lines = await answered(answer, stream=True, tools=tools, repair=repair)
    deltas = [
        choice["delta"]
        for _, event in parse_sse(got.content)
        for choice in event.get("choices", ())
    ]
    assert "".join(d.get("content") or "" for d in deltas) == SAID
    assert "".join(d.get("reasoning_content") or "" for d in deltas) == "Hm, so."
    assert got.text.endswith("data: [DONE]\n\n")
    assert lines.count("translate content") == 1


@pytest.mark.parametrize("repair", [True, False])
async def test_a_message_has_a_text(repair):
    message = chat_message("")
    message["choices"][0]["message"]["content"] = [thinking("Hm."), text(SAID)]
    got, lines = await answered(respond(200, message), stream=False, tools=True, repair=repair)
    said = got.json()["choices"][0]["message"]
    assert (said["content"], said["reasoning_content"]) == (SAID, "Hm.")
    assert "translate content" in lines


async def test_other_replies_pass_to_the_byte():
    message = chat_message('"content": [1]')
    message["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1.50}]}
    raw = json.dumps(message).encode()
    got, lines = await answered(respond(200, raw), stream=False, tools=False, repair=False)
    assert (got.content, "translate content" in lines) == (raw, False)


@pytest.mark.parametrize("size", [5, 70, 1000])
async def test_log_probabilities_pass_to_the_byte(size):
    piece = chunk({"content": "a"})
    piece["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1.50}]}
    raw = b"".join([data(piece), data(piece), data(chunk({}, "stop")), b"data: [DONE]\n\n"])
    answer = sse([raw], chunk_sizes=[size])
    got, lines = await answered(answer, stream=True, tools=False, repair=False)
    assert (got.content, "translate content" in lines) == (raw, False)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@given(places=st.lists(st.integers(0, 600), max_size=4))
def test_lines_may_end_and_be_cut_anywhere(end, places):
    raw = STREAM.replace(b"\n\n", end)
    plain, at = (
        PlainContent(lambda _: None),
        [0, *sorted(min(p, len(raw)) for p in places), len(raw)],
    )
    sent = b"".join(plain.feed(raw[a:b]) for a, b in pairwise(at)) + plain.flush()
    said = [json.loads(line[6:]) for line in sent.splitlines() if line.startswith(b"data: {")]
    deltas = [event["choices"][0]["delta"] for event in said]
    assert "".join(d.get("content") or "" for d in deltas) == SAID
    assert sent.count(end) == raw.count(end)
