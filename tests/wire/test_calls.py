"""Several calls in one answer, as servers really tell them: each stays a call of its own.

Sources: ollama/ollama#15457 and #7881 (every call has index 0, or none), vercel/ai#14277,
huggingface/smolagents#1569, ai-dynamo/dynamo#4723, mcowger/plexus#691 (calls joined by clients).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, respond, sse
from plugway_openai_wire.testing import chunk, data
from plugway_tool_repair import ToolRepair
from tests.slow import seeds
from tests.wire.ways import PATHS, asked, between, calls_in

pytestmark = pytest.mark.anyio

NAMES = ("Read", "Write", "List")
ANY = {"type": "object"}
PING = b": ping\n\n"


def entry(name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """One entry of `tool_calls`; what is None is left out."""
    function = {"name": name, "arguments": arguments}
    return {"function": {k: v for k, v in function.items() if v is not None}, **more}


def streamed(*lists: Sequence[dict[str, Any]]) -> list[Any]:
    """A stream of Chat Completions with one list of entries in each chunk."""
    deltas = [data(chunk({"tool_calls": entries})) for entries in lists]
    return [*deltas, data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"]


def whole(entries: Sequence[dict[str, Any]]) -> list[Any]:
    """A whole answer of Chat Completions."""
    message = {"role": "assistant", "content": None, "tool_calls": entries}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return respond(200, {"id": "c", "object": "chat.completion", "choices": [choice]})


A, B = '{"path": "a"}', '{"path": "a.txt"}'
TWO = [("Read", {"path": "a"}), ("Read", {"path": "a.txt"})]
READ_WRITE = [("Read", {"path": "a"}), ("Write", {"path": "a.txt"})]
NOTHING_TWICE = [("List", {}), ("List", {})]

LISTS: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "the same id": ([entry("Read", A, id="c"), entry("Read", B, id="c")], TWO),
    "the same id and arguments": ([entry("Read", A, id="c")] * 2, [TWO[0]] * 2),
    "empty ids": ([entry("Read", A, id=""), entry("Write", B, id="")], READ_WRITE),
    "no ids": ([entry("Read", A), entry("Read", B)], TWO),
    "ids that are null": ([entry("Read", A, id=None), entry("Read", B, id=None)], TWO),
    "no ids, no arguments": ([entry("List", "{}"), entry("Read", A)], [("List", {}), TWO[0]]),
    "twice without arguments": ([entry("List", ""), entry("List")], NOTHING_TWICE),
    "index 0, no ids": ([entry("Read", A, index=0), entry("Write", B, index=0)], READ_WRITE),
    "index 0, ids": ([entry("Read", A, index=0, id="c"), entry("Read", B, index=0, id="d")], TWO),
    "index 0, the same id": ([entry("Read", A, index=0, id="c")] * 2, [TWO[0]] * 2),
    "objects": ([entry("Read", {"path": "a"}), entry("Read", {"path": "a.txt"})], TWO),
    "without `function`": (
        [{"id": "c", "name": "Read", "arguments": A}, {"id": "d", "name": "Read", "arguments": B}],
        TWO,
    ),
}
CHUNKS: dict[str, tuple[list[list[dict[str, Any]]], list[Any]]] = {
    "index 0, ids, whole": (
        [[entry("Read", A, index=0, id="c")], [entry("Read", B, index=0, id="d")]],
        TWO,
    ),
    "index 0, ids, in pieces": (
        [
            [entry("Read", "", index=0, id="c")],
            [entry(None, A[:5], index=0)],
            [entry(None, A[5:], index=0)],
            [entry("Read", "", index=0, id="d")],
            [entry(None, B[:5], index=0)],
            [entry(None, B[5:], index=0)],
        ],
        TWO,
    ),
    "no index, ids, in pieces": (
        [
            [entry("Read", A[:5], id="c")],
            [entry(None, A[5:])],
            [entry("Read", B[:5], id="d")],
            [entry(None, B[5:])],
        ],
        TWO,
    ),
    "index 0, no ids, another name": (
        [[entry("Read", A, index=0)], [entry("Write", B, index=0)]],
        READ_WRITE,
    ),
    "index 0, no ids, the same name": (
        [[entry("Read", A, index=0)], [entry("Read", B, index=0)]],
        TWO,
    ),
    "index 0, no ids, no arguments first": (
        [[entry("List", "{}", index=0)], [entry("Read", A, index=0)]],
        [("List", {}), TWO[0]],
    ),
    "index 0, no ids, not one argument": (
        [[entry("List", "", index=0)], [entry("Read", A, index=0)]],
        [("List", {}), TWO[0]],
    ),
    "no index, no ids": ([[entry("Read", A)], [entry("Read", B)]], TWO),
    "no index, no ids, in pieces": (
        [[entry("Read", A[:5])], [entry(None, A[5:])], [entry("Read")], [entry(None, B)]],
        TWO,
    ),
    "empty ids and no index": ([[entry("Read", A, id="")], [entry("Write", B, id="")]], READ_WRITE),
    "the same id, another name": (
        [[entry("Read", A, index=0, id="c")], [entry("Write", B, index=0, id="c")]],
        READ_WRITE,
    ),
    "the same id, other arguments": (
        [[entry("Read", A, index=0, id="c")], [entry("Read", '{"n": 1}', index=0, id="c")]],
        [TWO[0], ("Read", {"n": 1})],
    ),
    "the same id, other indexes": (
        [[entry("Read", A, index=0, id="c")], [entry("Read", B, index=1, id="c")]],
        TWO,
    ),
    "one chunk, no ids": ([[entry("Read", A), entry("Read", B)]], TWO),
    "one chunk, index 0": ([[entry("Read", A, index=0), entry("Read", B, index=0)]], TWO),
    "the name in each piece": (
        [[entry("Read", A[:5], index=0, id="c")], [entry("Read", A[5:], index=0, id="c")]],
        TWO[:1],
    ),
    "another id in each piece": (
        [[entry("Read", A[:5], index=0, id="c")], [entry("", A[5:], index=0, id="d")]],
        TWO[:1],
    ),
    "the name in pieces": (
        [[entry("Re", "", index=0, id="c")], [entry("ad", A, index=0)]],
        TWO[:1],
    ),
    "all of it once more at the end": (
        [
            [entry("Read", A[:5], index=0, id="c")],
            [entry(None, A[5:], index=0)],
            [entry("Read", A, index=0, id="c")],
        ],
        TWO[:1],
    ),
    "the id last": (
        [[entry("Read", A[:5], index=0)], [entry(None, A[5:], index=0, id="c")]],
        TWO[:1],
    ),
    "an index in the first pieces only": (
        [[entry("Read", A[:5], index=0, id="c")], [entry(None, A[5:])]],
        TWO[:1],
    ),
    "an index in the later pieces only": (
        [[entry("Read", A[:5], id="c")], [entry(None, A[5:], index=0)]],
        TWO[:1],
    ),
    "indexes as text": (
        [
            [entry("Read", A[:5], index="0", id="c"), entry("Read", B[:5], index="1", id="d")],
            [entry(None, A[5:], index="0"), entry(None, B[5:], index="1")],
        ],
        TWO,
    ),
    "side by side, by id alone": (
        [
            [entry("Read", A[:5], id="c"), entry("Read", B[:5], id="d")],
            [entry(None, A[5:], id="c"), entry(None, B[5:], id="d")],
        ],
        TWO,
    ),
    "side by side, growing": (
        [
            [entry("Read", "{}", index=0, id="c"), entry("Read", "{}", index=1, id="d")],
            [entry(None, A, index=0), entry(None, B, index=1)],
        ],
        TWO,
    ),
}


@pytest.mark.parametrize("dialect", ["messages", "responses"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("entries", "wanted"), LISTS.values(), ids=LISTS)
async def test_each_entry_of_a_whole_answer_is_a_call(
    entries: list[dict[str, Any]], wanted: list[Any], stream: bool, dialect: str
):
    assert await told(whole(entries), dialect, stream=stream) == wanted


@pytest.mark.parametrize("dialect", ["messages", "responses"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("lists", "wanted"), CHUNKS.values(), ids=CHUNKS)
async def test_each_call_of_a_stream_is_a_call(
    lists: list[list[dict[str, Any]]], wanted: list[Any], stream: bool, dialect: str
):
    assert await told(sse(streamed(*lists)), dialect, stream=stream) == wanted


async def told(
    answer: list[Any], dialect: str, *, stream: bool, backend: str = "chat"
) -> list[Any]:
    """Names and inputs of the calls that a client gets."""
    async with ScriptedUpstream(otherwise=answer) as server, between(backend, server) as running:
        body = asked(dialect, schema=ANY, names=NAMES, stream=stream)
        found = await running.post(body, PATHS[dialect])
        assert found.status_code == 200, found.text
        return [(name, given) for _, name, given in calls_in(dialect, found.text, stream=stream)]


# ── any calls, told in any way that leaves no doubt ──────────────────────────────────────────────


def some_value(random: Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kinds = [
        lambda: random.choice(["", "a", '{"', "}{", "\\", '"', "é😀", "\n", "[1]", "null"]),
        lambda: random.choice([None, True, False, 0, -1, 2.5, 10**12]),
        lambda: [some_value(random, depth + 1) for _ in range(random.randint(0, 3))],
        lambda: some_object(random, depth + 1),
    ]
    return random.choice(kinds[: 2 if depth > 2 else 4])()


def some_object(random: Random, depth: int = 0) -> dict[str, Any]:
    names = random.sample(["path", "a", "b{", 'q"', "ü"], random.randint(0, 3))
    return {name: some_value(random, depth) for name in names}


def cut(random: Random, text: str) -> list[str]:
    """A text in pieces, some of them empty."""
    at = sorted(random.choices(range(len(text) + 1), k=random.choice([0, 1, 2, 5])))
    return [text[i:j] for i, j in zip([0, *at], [*at, len(text)], strict=True)]


def some_answer(random: Random) -> tuple[list[Any], list[tuple[str, Any]]]:
    """An answer, and its calls."""
    calls = [(random.choice(NAMES), some_object(random)) for _ in range(random.randint(1, 5))]
    ids = random.choice(["own", "none", "empty", "same"])
    ids = {"none": [None], "empty": [""], "same": ["c"]}.get(ids) or [f"c{n}" for n in range(5)]
    numbered = random.random() < 0.5 or ids == ["c"]
    index = [*range(5)] if numbered else random.choice([[0], [None]])
    ways: list[list[dict[str, Any]]] = []
    for number, (name, given) in enumerate(calls):
        ascii_, spaced = random.random() < 0.5, random.random() < 0.5
        text = json.dumps(given, ensure_ascii=ascii_, separators=None if spaced else (",", ":"))
        told: dict[str, Any] = {"id": ids[number % len(ids)], "index": index[number % len(index)]}
        told = {key: value for key, value in told.items() if value is not None}
        first, *rest = cut(random, text)
        again = {k: v for k, v in told.items() if k == "index" or random.random() < 0.5}
        named = random.random() < 0.3 and "id" in again
        pieces = [entry(name, first, type="function", **told)]
        pieces += [entry(name if named else None, piece, **again) for piece in rest]
        ways.append(pieces)
    if random.random() < 0.3:
        texts = ["".join(piece["function"]["arguments"] for piece in way) for way in ways]
        heads = [{k: v for k, v in way[0].items() if k != "function"} for way in ways]
        entries = [
            entry(name, text, **head)
            for (name, _), text, head in zip(calls, texts, heads, strict=True)
        ]
        return whole(entries), calls
    chunks = [data(chunk({"tool_calls": [piece]})) for piece in mixed(random, ways, numbered)]
    between_ = [b"", PING, data(chunk({})), data({"choices": [], "usage": {"prompt_tokens": 1}})]
    chunks = [part for piece in chunks for part in (random.choice(between_), piece) if part]
    return sse([*chunks, data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"]), calls


def mixed(random: Random, ways: list[list[dict[str, Any]]], numbered: bool) -> list[dict[str, Any]]:
    """The pieces of all calls: side by side where they are numbered, else one after the other."""
    if not numbered or random.random() < 0.5:
        return [piece for way in ways for piece in way]
    found = [way.pop(0) for way in ways]
    while left := [way for way in ways if way]:
        found.append(random.choice(left).pop(0))
    return found


@pytest.mark.parametrize("repaired", [False, True], ids=["plain", "repaired"])
async def test_any_calls_told_in_any_way_come_out_as_they_are(repaired: bool):
    random = Random(20261129)
    others = [build_plugin(ToolRepair, "tool-repair")] if repaired else []
    answer: list[Any] = []
    async with (
        ScriptedUpstream(otherwise=lambda _: answer) as server,
        between("chat", server, others) as running,
    ):
        for number in seeds(60, 300):
            answer, calls = some_answer(random)
            dialect, stream = random.choice(["messages", "responses"]), random.random() < 0.5
            body = asked(dialect, schema=ANY, names=NAMES, stream=stream)
            found = await running.post(body, PATHS[dialect])
            assert found.status_code == 200, (number, found.text)
            told = [(n, given) for _, n, given in calls_in(dialect, found.text, stream=stream)]
            assert told == calls, (number, answer)


# ── the other APIs ───────────────────────────────────────────────────────────────────────────────

F1 = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "Read", "arguments": A}
F2 = {"type": "function_call", "id": "f2", "call_id": "c2", "name": "Read", "arguments": B}


def without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in names}


def items(*told: dict[str, Any], index: Sequence[int | None] = (0, 1)) -> list[dict[str, Any]]:
    """The events of items, one after the other; their arguments come in two pieces."""
    events: list[dict[str, Any]] = []
    for item, number in zip(told, index, strict=False):
        at: dict[str, Any] = {} if number is None else {"output_index": number}
        piece = {**at, "item_id": item["id"]} if "id" in item else at
        kind = "response.function_call_arguments"
        events.append(
            {"type": "response.output_item.added", **at, "item": {**item, "arguments": ""}}
        )
        halves = (item["arguments"][:5], item["arguments"][5:])
        events += [{"type": f"{kind}.delta", **piece, "delta": half} for half in halves]
        events.append({"type": "response.output_item.done", **at, "item": item})
    return events


def side_by_side(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    half = len(events) // 2
    return [item for pair in zip(events[:half], events[half:], strict=True) for item in pair]


RESPONSES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "as the API has it": (items(F1, F2), [F1, F2]),
    "side by side": (side_by_side(items(F1, F2)), [F1, F2]),
    "every index 0": (items(F1, F2, index=(0, 0)), [F1, F2]),
    "every index 0, side by side": (side_by_side(items(F1, F2, index=(0, 0))), [F1, F2]),
    "every index 0, no output at the end": (items(F1, F2, index=(0, 0)), []),
    "no index": (items(F1, F2, index=(None, None)), [F1, F2]),
    "no index, side by side": (side_by_side(items(F1, F2, index=(None, None))), [F1, F2]),
    "no ids of items": (items(without(F1, "id"), without(F2, "id")), []),
    "no ids of items, every index 0": (
        items(without(F1, "id"), without(F2, "id"), index=(0, 0)),
        [F1, F2],
    ),
    "no ids at all, every index 0": (
        items(without(F1, "id", "call_id"), without(F2, "id", "call_id"), index=(0, 0)),
        [],
    ),
    "empty ids, every index 0": (items({**F1, "id": ""}, {**F2, "id": ""}, index=(0, 0)), []),
    "the same id of the item": (items(F1, {**F2, "id": "f1"}), [F1, {**F2, "id": "f1"}]),
    "the same id of the item, every index 0": (items(F1, {**F2, "id": "f1"}, index=(0, 0)), []),
    "the same id of the call": (items(F1, {**F2, "call_id": "c1"}), [F1, {**F2, "call_id": "c1"}]),
    "one only at the end": (items(F1), [F1, F2]),
    "one only at the end, other ids of items": (
        items(F1),
        [{**F1, "id": "x"}, {**F2, "id": "y"}],
    ),
    "one only at the end, no ids of items": (items(F1), [without(F1, "id"), without(F2, "id")]),
    "both only at the end": ([], [F1, F2]),
    "other ids at the end": (
        items(F1, F2),
        [{**F1, "id": "x", "call_id": "x"}, {**F2, "id": "y", "call_id": "y"}],
    ),
    "only the ends of items": (
        [
            {"type": "response.output_item.done", "output_index": 0, "item": item}
            for item in (F1, F2)
        ],
        [],
    ),
    "only the beginnings of items": (
        [
            {
                "type": "response.output_item.added",
                "output_index": n,
                "item": {**item, "arguments": ""},
            }
            for n, item in enumerate((F1, F2))
        ],
        [F1, F2],
    ),
    "a beginning, and the rest at the end": (items(F1)[:2], [F1, F2]),
}


@pytest.mark.parametrize("dialect", ["messages", "chat"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("events", "output"), RESPONSES.values(), ids=RESPONSES)
async def test_each_call_of_responses_is_a_call(
    events: list[dict[str, Any]], output: list[dict[str, Any]], stream: bool, dialect: str
):
    last = {"id": "r", "status": "completed", "output": output}
    begun = {"type": "response.created", "response": {"id": "r"}}
    answer = sse(
        list(map(data, [begun, *events, {"type": "response.completed", "response": last}]))
    )
    assert await told(answer, dialect, stream=stream, backend="responses") == TWO


def parts(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"functionCall": call} for call in calls]}}]}


G1 = {"name": "Read", "args": {"path": "a"}}
G2 = {"name": "Read", "args": {"path": "a.txt"}}
GEMINI: dict[str, tuple[list[dict[str, Any]], list[Any]]] = {
    "in one piece": ([parts(G1, G2)], TWO),
    "in two pieces": ([parts(G1), parts(G2)], TWO),
    "with the same id": (
        [parts({**G1, "id": "c"}), parts({"id": "c", **G2, "name": "Write"})],
        READ_WRITE,
    ),
    "with empty ids": ([parts({**G1, "id": ""}), parts({**G2, "id": ""})], TWO),
    "the same one, without ids": ([parts(G1), parts(G1)], [TWO[0]] * 2),
    "with the same id in one piece": ([parts({**G1, "id": "c"}, {**G1, "id": "c"})], [TWO[0]] * 2),
    "one, told twice by its id": ([parts({**G1, "id": "c"})] * 2, TWO[:1]),
    "one, growing": (
        [
            parts({"name": "Read", "args": {}, "id": "c"}),
            parts({"name": "Read", "args": {"path": "a"}, "id": "c"}),
            parts({"name": "Read", "args": {}, "id": "c"}),
        ],
        TWO[:1],
    ),
    "arguments as text": ([parts({**G1, "args": A}), parts({**G2, "args": json.dumps(B)})], TWO),
    "without arguments": (
        [parts({"name": "List"}), parts({"name": "List", "args": None})],
        NOTHING_TWICE,
    ),
}


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("pieces", "wanted"), GEMINI.values(), ids=GEMINI)
async def test_each_call_of_gemini_is_a_call(
    pieces: list[dict[str, Any]], wanted: list[Any], stream: bool, dialect: str
):
    said = [part for p in pieces for part in p["candidates"][0]["content"]["parts"]]
    if not stream and len(wanted) < len(said):
        return  # a whole answer says nothing twice
    whole = {"candidates": [{"content": {"parts": said}, "finishReason": "STOP"}]}
    last = {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]}
    answer = sse([*map(data, pieces), data(last)]) if stream else respond(200, whole)
    assert await told(answer, dialect, stream=stream, backend="gemini") == wanted
