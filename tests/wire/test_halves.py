"""Characters that a server splits in two, each half escaped by itself. Source: RFC 8259, 8.2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, respond, sse
from plugway_openai_wire.testing import chat_message, chunk, tool_delta
from tests.wire.ways import PATHS, asked, between

pytestmark = pytest.mark.anyio

PIECES = {
    "a pair in two chunks": (["Hi \ud83d", "\ude00!"], "Hi \U0001f600!"),
    "a pair alone": (["\ud83d", "\ude00"], "\U0001f600"),
    "two pairs in three chunks": (["\ud83d", "\ude00\ud83c", "\udf89"], "\U0001f600\U0001f389"),
    "a first half at the end": (["Hi \ud83d"], "Hi \ufffd"),
    "a second half alone": (["\ude00 Hi"], "\ufffd Hi"),
    "a first half, then text": (["a\ud83d", "b"], "a\ufffdb"),
    "two first halves": (["\ud83d", "\ud83d\ude00"], "\ufffd\U0001f600"),
    "a half in the middle": (["a\ud83db"], "a\ufffdb"),
    "a pair in one chunk": (["\ud83d\ude00"], "\U0001f600"),
}


def event(value: dict[str, Any]) -> bytes:
    """An event whose text is escaped, half a character too."""
    return f"data: {json.dumps(value)}\n\n".encode()


def chat(pieces: list[str]) -> list[Any]:
    return [
        *(event(chunk({"content": p})) for p in pieces),
        event(chunk({}, "stop")),
        b"data: [DONE]\n\n",
    ]


def responses(pieces: list[str]) -> list[Any]:
    at = {"output_index": 0, "item_id": "m", "content_index": 0}
    item = {"type": "message", "id": "m", "role": "assistant", "content": []}
    return [
        event({"type": "response.created", "response": {"id": "r"}}),
        event({"type": "response.output_item.added", "output_index": 0, "item": item}),
        *(event({"type": "response.output_text.delta", **at, "delta": p}) for p in pieces),
        event({"type": "response.completed", "response": {"id": "r", "status": "completed"}}),
    ]


def gemini(pieces: list[str]) -> list[Any]:
    def part(text: str, **more: Any) -> bytes:
        return event({"candidates": [{"content": {"parts": [{"text": text}]}, **more}]})

    return [*(part(p) for p in pieces[:-1]), part(pieces[-1], finishReason="STOP")]


STREAMS = {"chat": chat, "responses": responses, "gemini": gemini}


def said(dialect: str, answer: dict[str, Any]) -> str:
    """The text of an answer."""
    if dialect == "messages":
        return "".join(block["text"] for block in answer["content"])
    if dialect == "chat":
        return answer["choices"][0]["message"]["content"]
    return "".join(part["text"] for item in answer["output"] for part in item["content"])


def streamed(text: str) -> str:
    """The text of a stream of any API."""
    found = ""
    for line in text.splitlines():
        if not line.startswith("data: {"):
            continue
        data = json.loads(line[6:])
        delta = data.get("delta") or (data.get("choices") or [{}])[0].get("delta") or ""
        text = delta if isinstance(delta, str) else delta.get("text") or delta.get("content") or ""
        found += text
    return found


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("backend", STREAMS)
@pytest.mark.parametrize(("pieces", "wanted"), PIECES.values(), ids=PIECES)
async def test_a_character_in_two_halves_is_one(
    pieces: list[str], wanted: str, backend: str, dialect: str
):
    async with (
        ScriptedUpstream(otherwise=sse(STREAMS[backend](pieces))) as server,
        between(backend, server) as running,
    ):
        answer = await running.post(asked(dialect, stream=backend == "gemini"), PATHS[dialect])
        assert answer.status_code == 200, answer.text
        if backend != "gemini":
            assert said(dialect, answer.json()) == wanted
        else:
            assert streamed(answer.text) == wanted


async def test_the_arguments_and_thinking_of_a_stream_are_joined_by_their_call():
    events = [
        event(chunk({"reasoning_content": "\ud83d"})),
        event(chunk({"reasoning_content": "\ude00"})),
        event(chunk(tool_delta(0, '{"path": "\ud83d', id="c", type="function", name="Read"))),
        event(chunk(tool_delta(0, '\ude00"}'))),
        event(chunk({}, "tool_calls")),
        b"data: [DONE]\n\n",
    ]
    async with (
        ScriptedUpstream(otherwise=sse(events)) as server,
        between("chat", server) as running,
    ):
        thought, call = (await running.post(asked("messages"))).json()["content"]
        assert thought["thinking"] == "\U0001f600"
        assert call["input"] == {"path": "\U0001f600"}


async def test_a_whole_answer_with_half_a_character_is_read():
    body = json.dumps(chat_message("Hi \ud83d")).encode()
    whole = respond(200, body, {"content-type": "application/json"})
    async with ScriptedUpstream(otherwise=whole) as server, between("chat", server) as running:
        answer = await running.post(asked("messages"))
        assert said("messages", answer.json()) == "Hi \ufffd"
