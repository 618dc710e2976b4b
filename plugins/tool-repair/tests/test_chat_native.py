"""Calls that a Chat Completions server parsed are checked before its client gets them."""

from __future__ import annotations

import json
import random

import pytest

from plugway.testing import respond, sse
from plugway_openai_wire.testing import chat_message, chat_stream, chunk, data

from .test_chat_client import Server

pytestmark = pytest.mark.anyio

PATH = {"file_path": "/a.txt"}
GOOD = json.dumps(PATH)
READABLE = {
    "valid": ("Read", GOOD, PATH),
    "repeated": ("Read", GOOD + GOOD, PATH),
    "a string": ("Read", json.dumps(GOOD), PATH),
    "single quotes": ("Read", "{'file_path': '/a.txt'}", PATH),
    "not closed": ("Read", GOOD[:-1], PATH),
    "fenced": ("Read", f"```json\n{GOOD}\n```", PATH),
    "an object": ("Read", PATH, PATH),
    "in other case": ("read", GOOD, PATH),
    "null": ("Bash", "null", {}),
    "empty": ("Bash", "", {}),
    "blank": ("Bash", " ", {}),
    "a number as text": ("Bash", '{"timeout": "5"}', {"timeout": 5}),
    "an unknown tool": ("Nope", GOOD, PATH),
}
UNREADABLE = ["[1]", "5", "no JSON", '{"file_path": "/a', '{"file_path": ', '"text"', GOOD + "}{"]


@pytest.fixture
def ask():
    return Server()


def piece(index, **function):
    return {"index": index, "function": function}


def events_of(calls, seed, finish="tool_calls", said="", joint=False):
    """The events of these calls, their arguments in random pieces."""
    chance, deltas = random.Random(seed), [{"role": "assistant", "content": said or None}]
    for index, (name, arguments) in enumerate(calls):
        start = {"id": f"call_{index}", "type": "function", **piece(index, name=name, arguments="")}
        deltas.append({"tool_calls": [start]})
        if not isinstance(arguments, str):
            deltas.append({"tool_calls": [piece(index, arguments=arguments)]})
            continue
        while arguments:
            size = chance.randint(1, 9)
            deltas.append({"tool_calls": [piece(index, arguments=arguments[:size])]})
            arguments = arguments[size:]
    last = chunk(deltas.pop() if joint else {}, finish)
    return [*(data(chunk(delta)) for delta in deltas), data(last), b"data: [DONE]\n\n"]


def in_chunks(events, seed):
    chance = random.Random(seed)
    return sse(events, chunk_sizes=[chance.randint(1, 400) for _ in range(20)])


def whole(calls, finish="tool_calls", said=None):
    made = [
        {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    message = {"role": "assistant", "content": said, "tool_calls": made}
    body = chat_message("")
    choice = {**body["choices"][0], "message": message, "finish_reason": finish}
    return respond(200, {**body, "choices": [choice]})


def read_stream(content):
    text, calls, reason = "", {}, None
    for line in content.decode().splitlines():
        if line.startswith("data: {"):
            (choice,) = json.loads(line[6:])["choices"]
            text += choice["delta"].get("content") or ""
            for one in choice["delta"].get("tool_calls", ()):
                call = calls.setdefault(one["index"], ["", "", ""])
                call[0] += one.get("id") or ""
                call[1] += one["function"].get("name") or ""
                call[2] += one["function"].get("arguments") or ""
            reason = choice["finish_reason"] or reason
    assert content.endswith(b"data: [DONE]\n\n")
    assert all(call[0] for call in calls.values())
    return text, [(name, json.loads(text)) for _, name, text in calls.values()], reason


def read_message(content):
    (choice,) = json.loads(content)["choices"]
    calls = [call["function"] for call in choice["message"].get("tool_calls", ())]
    made = [(call["name"], json.loads(call["arguments"])) for call in calls]
    return choice["message"]["content"] or "", made, choice["finish_reason"]


async def both(ask, calls, finish="tool_calls", said="", seed=0, *, joint=False):
    events = events_of(calls, seed, finish, said, joint)
    found = read_stream(await ask(in_chunks(events, seed)))
    assert read_message(await ask(whole(calls, finish, said or None), stream=False)) == found
    return found


@pytest.mark.parametrize("joint", [False, True], ids=["", "with the reason"])
@pytest.mark.parametrize("kind", READABLE)
async def test_arguments_arrive_as_an_object_whatever_the_server_made_of_them(kind, joint):
    ask = Server(ask_again=False)
    name, arguments, expected = READABLE[kind]
    text, calls, reason = await both(ask, [(name, arguments)], said="I see.", joint=joint)
    assert (text, reason) == ("I see.", "tool_calls")
    names = {"read": "Read"}
    assert calls == [(names.get(name, name), expected)]


@pytest.mark.parametrize("arguments", UNREADABLE)
async def test_a_call_without_readable_arguments_is_left_out_with_a_word(arguments):
    ask = Server(ask_again=False)
    text, calls, reason = await both(ask, [("Read", arguments)])
    assert text == "[The call to `Read` was not made: its arguments are not valid JSON.]"
    assert (calls, reason) == ([], "stop")
    text, calls, reason = await both(ask, [("Read", GOOD), ("Read", arguments)])
    assert "was not made" in text
    assert (calls, reason) == ([("Read", PATH)], "tool_calls")


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_a_call_that_was_cut_off_is_left_out_and_whole_ones_stay(ask, finish):
    text, calls, reason = await both(ask, [("Read", GOOD), ("Read", GOOD[:9])], finish)
    assert (text, calls, reason) == ("", [("Read", PATH)], finish)
    text, calls, reason = await both(ask, [("Read", GOOD[:9])], finish)
    assert text.startswith("[The call of `Read` was cut off")
    assert (calls, reason) == ([], finish)


@pytest.mark.parametrize("seed", range(20))
async def test_valid_calls_pass_as_they_came(ask, seed):
    calls = [("Read", GOOD), ("Bash", '{ "command":"ls \\u0041" }')][: 1 + seed % 2]
    events = events_of(calls, seed, said="Hm. " * (seed % 3))
    assert await ask(in_chunks(events, seed)) == b"".join(events)


async def test_without_tools_nothing_is_held_or_changed(ask):
    events = events_of([("Read", "no JSON")], 1)
    assert await ask(in_chunks(events, 1), tools=[]) == b"".join(events)


async def test_a_call_behind_the_end_is_not_sent(ask):
    events = chat_stream("Done.")
    late = data(chunk({"tool_calls": [{"id": "x", **piece(0, name="Read", arguments="{")}]}))
    got = await ask(sse([*events[:-1], late, events[-1]]))
    assert b"tool_calls" not in got


SIGNED = {"google": {"thought_signature": "c2ln"}}
UNNUMBERED = {
    "no numbers": [
        {"id": "a", "function": {"name": "Read", "arguments": GOOD[:9]}, "extra_content": SIGNED},
        {"function": {"arguments": GOOD[9:]}},
        {"id": "b", "function": {"name": "Read", "arguments": '{"file_path": "/b.txt"}'}},
    ],
    "all the same number": [
        {"index": 0, "id": "a", **piece(0, name="Read", arguments=GOOD), "extra_content": SIGNED},
        {"index": 0, "id": "b", **piece(0, name="Read", arguments='{"file_path": "/b.txt"}')},
    ],
    "numbers from 1": [
        {"id": "a", **piece(1, name="Read", arguments=GOOD), "extra_content": SIGNED},
        {"id": "b", **piece(2, name="Read", arguments='{"file_path": "/b.txt"}')},
    ],
    "a signature by itself": [
        {"id": "a", "function": {"name": "Read", "arguments": GOOD}},
        {"extra_content": SIGNED},
        {"id": "b", "function": {"name": "Read", "arguments": '{"file_path": "/b.txt"}'}},
    ],
}


@pytest.mark.parametrize("kind", UNNUMBERED)
async def test_each_call_gets_its_number_whatever_the_server_sent(ask, kind):
    """OpenAI's clients need `index` (open-webui/computer#224), and join calls with the same one."""
    deltas = [{"tool_calls": [one]} for one in UNNUMBERED[kind]]
    events = [*(data(chunk(delta)) for delta in deltas), data(chunk({}, "stop"))]
    got = await ask(in_chunks([*events, b"data: [DONE]\n\n"], seed=1))
    _, calls, reason = read_stream(got)
    assert calls == [("Read", PATH), ("Read", {"file_path": "/b.txt"})]
    assert (reason, len(ask.requests)) == ("tool_calls", 1)
    assert got.count(b"c2ln") == 1


@pytest.mark.parametrize("ids", [("x", "x"), (None, None), ("", "x"), ("x", None)])
@pytest.mark.parametrize("stream", [True, False])
async def test_each_call_has_an_id_of_its_own(ask, ids, stream):
    calls = [
        {"index": n, "type": "function", "function": {"name": "Read", "arguments": GOOD}}
        | ({} if id_ is None else {"id": id_})
        for n, id_ in enumerate(ids)
    ]
    if stream:
        pieces = [chunk({"tool_calls": [call]}) for call in calls]
        got = await ask(
            sse([*map(data, pieces), data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"])
        )
        found = [
            call["id"]
            for line in got.decode().splitlines()
            if line.startswith("data: {")
            for call in json.loads(line[6:])["choices"][0]["delta"].get("tool_calls", ())
        ]
    else:
        made = chat_message(None)
        made["choices"][0]["message"]["tool_calls"] = calls
        answer = json.loads(await ask(respond(200, made), stream=False))
        found = [call["id"] for call in answer["choices"][0]["message"]["tool_calls"]]
    assert len(set(found)) == 2
    assert all(found)
    assert len(ask.requests) == 1


async def test_calls_that_end_with_stop_end_with_tool_calls(ask):
    _, calls, reason = await both(ask, [("Read", GOOD)], finish="stop")
    assert (calls, reason) == ([("Read", PATH)], "tool_calls")
