"""An event of a relayed chat reply that is judged by its bytes is treated as one that is parsed."""

from __future__ import annotations

import json
import random
import re

import pytest

from plugway_tool_repair import _chat_bytes
from plugway_tool_repair._chat import ChatText
from plugway_tool_repair._chat_bytes import ChatStream
from plugway_tool_repair._repairer import Repairer

from .conftest import TOOLBOX

pytestmark = pytest.mark.anyio

CALL = '<tool_call>{"name": "Read", "arguments": {"file_path": "/a.txt"}}</tool_call>'
TEXTS = [
    "Hello",
    " a < b",
    "\n",
    '"q"',
    "\\",
    "`x` ",
    "é漢🙂",
    "",
    "[DONE]",
    '"choices": [{',
    "[x]",
]
TEXTS += ['{"error": 1}', "data: [DONE]\n\n", "<tool", "_call>", "```", "</think>", "x" * 300, CALL]
BESIDE = {"logprobs": None, "stop_reason": None, "token_ids": None, "index": 0}
IN_DELTA = {
    "role": "assistant",
    "refusal": None,
    "tool_calls": None,
    "content": "",
    "reasoning": "",
}
NEVER = re.compile(b"(?!)")


def shuffled(chance, members):
    names = [name for name in members if chance.random() < 0.5]
    chance.shuffle(names)
    return {name: members[name] for name in names}


def delta(chance):
    said = {
        chance.choice(["content"] * 4 + ["reasoning_content", "reasoning"]): chance.choice(TEXTS)
    }
    return shuffled(chance, IN_DELTA) | said if chance.random() < 0.5 else said


def some_event(chance):
    """An event as one of many servers writes it."""
    finish = {"finish_reason": None} if chance.random() < 0.8 else {}
    members = [*shuffled(chance, BESIDE).items(), *finish.items(), ("delta", delta(chance))]
    chance.shuffle(members)
    choices = [dict(members)]
    odd = chance.random()
    if odd < 0.03:
        choices.append({"index": 1, "delta": {"content": chance.choice(TEXTS)}})
    elif odd < 0.06:
        choices[0]["index"] = 1
    elif odd < 0.09:
        choices = []
    head = {"id": "c", "model": 'a"choices"b'}
    tail = {"usage": None} if chance.random() < 0.3 else {}
    data = {**head, "choices": choices, **tail}
    separators = chance.choice([(",", ":"), (", ", ": ")])
    text = json.dumps(data, separators=separators, ensure_ascii=chance.random() < 0.5)
    if odd > 0.97:
        text = text[: len(text) // 2]
    end = chance.choice(["\n\n", "\n\n", "\r\n\r\n"])
    return chance.choice(["data: ", "data: ", "data:", "event: x\ndata: "]) + text + end


async def read(chunks):
    async def source():
        for chunk in chunks:
            yield chunk

    notes = []
    repairer = Repairer(TOOLBOX, notes.append, rescue=True, leaks=True, model="m")
    repairer.judged = True
    pieces = [
        piece
        async for piece in ChatStream(ChatText(repairer, TOOLBOX, notes.append)).read(source())
    ]
    return re.sub(rb"call_\w+", b"call_x", b"".join(pieces)), notes


@pytest.mark.parametrize("seed", range(300))
async def test_bytes_decide_as_the_parsed_event_does(seed, monkeypatch):
    chance = random.Random(seed)
    events = [some_event(chance) for _ in range(chance.randint(1, 30))]
    if chance.random() < 0.7:
        ending = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        events += [f"data: {json.dumps(ending)}\n\n", "data: [DONE]\n\n"]
    whole = "".join(events).encode()
    sizes = chance.choice([[len(whole)], [len(e.encode()) for e in events], [7] * len(whole)])
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    chunks = [
        whole[at : at + size] for at, size in zip(starts, sizes, strict=True) if at < len(whole)
    ]
    by_bytes = await read(chunks)
    monkeypatch.setattr(_chat_bytes, "_PLAIN", NEVER)
    assert by_bytes == await read(chunks)


async def test_what_passes_is_not_parsed(monkeypatch):
    said = ["Hello", "a `b` < c", 'x\n"q"', "é"]
    events = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ["Hi. ", *said]]
    events += [{"choices": [{"index": 0, "delta": {"reasoning_content": "Hm\n"}}]}]
    first, *others = (f"data: {json.dumps(item)}\n\n".encode() for item in events)
    parsed = []
    event_of = _chat_bytes.event_of
    monkeypatch.setattr(_chat_bytes, "event_of", lambda raw: parsed.append(raw) or event_of(raw))
    assert await read([first, b"".join(others)]) == (first + b"".join(others), [])
    assert parsed == [first]
