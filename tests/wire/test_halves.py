"""Characters that a server splits in two, each half escaped by itself. Source: RFC 8259, 8.2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, anthropic_message, build_plugin, respond, sse
from plugway_openai_wire.testing import chat_message, chunk, tool_delta
from plugway_tool_repair import ToolRepair
from tests.slow import seeds
from tests.wire.ways import PATHS, asked, between, calls_in

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


def named(kind: str, **fields: Any) -> bytes:
    """An event of the Messages API, escaped."""
    return f"event: {kind}\n".encode() + event({"type": kind, **fields})


def anthropic(pieces: list[str]) -> list[Any]:
    message = {**anthropic_message(""), "content": [], "stop_reason": None}
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return [
        named("message_start", message=message),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(named("content_block_delta", index=0, delta=delta) for delta in deltas),
        named("content_block_stop", index=0),
        named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
        named("message_stop"),
    ]


STREAMS = {
    "chat": chat,
    "responses": responses,
    "gemini": gemini,
    "anthropic-compatible": anthropic,
}


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


DELTA = "response.output_text.delta"
AT_1 = {"output_index": 1, "item_id": "n", "content_index": 0}
BETWEEN: dict[str, list[bytes]] = {
    "chat": [
        b": ping\n\n",
        event(chunk({})),
        event(chunk({"content": ""})),
        event(chunk({"content": None, "role": "assistant"})),
        event({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}),
        event({"choices": [{"index": 1, "delta": {"content": "x\ud83d"}}]}),
        event({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}),
    ],
    "responses": [
        b": ping\n\n",
        event({"type": "keepalive"}),
        event({"type": "response.in_progress", "response": {"id": "r"}}),
        event({"type": DELTA, "output_index": 0, "item_id": "m", "content_index": 0, "delta": ""}),
        event({"type": "response.content_part.done", **AT_1, "part": {"text": "x\ud83d"}}),
    ],
    "gemini": [
        b": ping\r\n\r\n",
        event({"usageMetadata": {"promptTokenCount": 1}}),
        event({"candidates": [{"content": {"parts": []}}]}),
        event({"candidates": [{"content": {"parts": [{"text": ""}]}}]}),
        event({"candidates": [{"index": 1, "content": {"parts": [{"text": "x\ud83d"}]}}]}),
    ],
    "anthropic-compatible": [
        b": ping\n\n",
        named("ping"),
        named("content_block_delta", index=0, delta={"type": "text_delta", "text": ""}),
        named("unknown", text="x\ud83d"),
    ],
}


def some_pieces(random: Random) -> tuple[list[str], str]:
    """A text that is cut between any two code units, and what it is when it is put together."""
    signs = [
        "a",
        "é",
        "\U0001f600",
        "\U0001f389",
        "한",
        "\n",
        '"',
        "\\",
        "\ud83d",
        "\ude00",
        "\udbff",
    ]
    text = "x" + "".join(random.choices(signs, k=random.randint(1, 8))) + "."
    units = text.encode("utf-16-le", "surrogatepass")
    halves = [
        units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)
    ]
    at = sorted(random.choices(range(len(halves) + 1), k=random.randint(1, 6)))
    pieces = ["".join(halves[i:j]) for i, j in zip([0, *at], [*at, None], strict=True)]
    return [piece for piece in pieces if piece], units.decode("utf-16-le", "replace")


def with_others(random: Random, events: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
    """The events, with others between those that have the pieces, which begin in the middle."""
    first = next(n for n, item in enumerate(events) if b'"x' in item)
    last = next(n for n, item in reversed(list(enumerate(events))) if b'."' in item)
    found = list(events[: first + 1])
    for item in events[first + 1 : last + 1]:
        found += [*random.choices(others, k=random.randint(0, 2)), item]
    return [*found, *events[last + 1 :]]


@pytest.mark.parametrize("backend", STREAMS)
async def test_any_text_cut_anywhere_is_whole_whatever_stands_between_its_pieces(backend: str):
    random = Random(20261129)
    answer: list[Any] = []
    async with (
        ScriptedUpstream(otherwise=lambda _: answer) as server,
        between(backend, server) as running,
    ):
        for number in seeds(30, 120):
            pieces, wanted = some_pieces(random)
            events = with_others(random, STREAMS[backend](pieces), BETWEEN[backend])
            answer = sse(events)
            dialect = random.choice([name for name in PATHS if name != backend])
            found = await running.post(asked(dialect, stream=True), PATHS[dialect])
            assert streamed(found.text) == wanted, (number, pieces, events)
            if backend != "gemini":
                found = await running.post(asked(dialect), PATHS[dialect])
                assert said(dialect, found.json()) == wanted, (number, pieces, events)


async def test_halves_in_the_arguments_of_calls_side_by_side_are_joined_by_their_call():
    def piece(*told: tuple[int, str]) -> bytes:
        entries = [{"index": n, "function": {"arguments": text}} for n, text in told]
        return event(chunk({"tool_calls": entries}))

    begun = [tool_delta(n, "", id=f"c{n}", type="function", name="Read") for n in (0, 1)]
    events = [
        *(event(chunk(delta)) for delta in begun),
        piece((0, '{"path": "\ud83d'), (1, '{"path": "\ud83c')),
        event(chunk({})),
        piece((1, '\udf89"}')),
        piece((0, "\ude00\\ud83d")),
        piece((0, "\\u")),
        piece((0, 'de00 \\ud83d"}')),
        event(chunk({}, "tool_calls")),
        b"data: [DONE]\n\n",
    ]
    async with (
        ScriptedUpstream(otherwise=sse(events)) as server,
        between("chat", server) as running,
    ):
        for stream in (False, True):
            found = await running.post(asked("messages", stream=stream))
            calls = [given for _, _, given in calls_in("messages", found.text, stream=stream)]
            assert calls == [{"path": "\U0001f600\U0001f600 \ufffd"}, {"path": "\U0001f389"}]


@pytest.mark.parametrize("repaired", [False, True], ids=["plain", "repaired"])
async def test_halves_in_the_arguments_of_a_server_of_the_messages_api_are_joined(repaired: bool):
    start = {"type": "tool_use", "id": "c", "name": "Read", "input": {}}
    texts = ['{"path": "\ud83d', "\ude00 \\ud83d", '\\ude00 \\ud83d"}']
    deltas = [{"type": "input_json_delta", "partial_json": text} for text in texts]
    head, _, *tail = anthropic([""])
    events = [
        head,
        named("content_block_start", index=0, content_block=start),
        *(
            part
            for d in deltas
            for part in (named("ping"), named("content_block_delta", index=0, delta=d))
        ),
        *tail[1:],
    ]
    others = [build_plugin(ToolRepair, "tool-repair")] if repaired else []
    async with (
        ScriptedUpstream(otherwise=sse(events)) as server,
        between("anthropic-compatible", server, others) as running,
    ):
        for stream in (False, True) if repaired else (False,):
            found = await running.post(asked("messages", stream=stream))
            calls = [given for _, _, given in calls_in("messages", found.text, stream=stream)]
            assert calls == [{"path": "\U0001f600 \U0001f600 \ufffd"}]


async def test_a_relayed_stream_without_halves_keeps_every_byte():
    text = json.dumps({"type": "text_delta", "text": "a \U0001f600 한 \\ud83d"})
    events = [
        *anthropic([])[:2],
        f'event: content_block_delta\ndata:  {{"delta":{text},"index":0, "type": "content_block_delta"}}'
        "\n\n".encode(),
        *anthropic([])[2:],
    ]
    async with (
        ScriptedUpstream(otherwise=sse(events)) as server,
        between("anthropic-compatible", server) as running,
    ):
        found = await running.post(asked("messages", stream=True))
        assert found.content == b"".join(events)


WHOLE = {
    "chat": chat_message("Hi \ud83d"),
    "responses": {
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Hi \ud83d"}]}],
    },
    "gemini": {
        "candidates": [{"content": {"parts": [{"text": "Hi \ud83d"}]}, "finishReason": "STOP"}]
    },
    "anthropic-compatible": anthropic_message("Hi \ud83d"),
}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("backend", WHOLE)
async def test_a_whole_answer_with_half_a_character_is_read(backend: str, dialect: str):
    whole = respond(200, json.dumps(WHOLE[backend]).encode(), {"content-type": "application/json"})
    async with ScriptedUpstream(otherwise=whole) as server, between(backend, server) as running:
        answer = await running.post(asked(dialect), PATHS[dialect])
        if backend != dialect:  # its own bytes go to the client as they are
            assert said(dialect, answer.json()) == "Hi \ufffd"


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
