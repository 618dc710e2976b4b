"""A client of Chat Completions in front of a server of it: its answers pass as they are, but for calls
that the model wrote as text."""

from __future__ import annotations

import json
import random

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond, sse
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream, chunk, data
from plugway_tool_repair import ToolRepair
from plugway_toolcalls import FAMILIES, write_call

from .conftest import TOOLS

pytestmark = pytest.mark.anyio

FUNCTIONS = [
    {
        "type": "function",
        "function": {"name": tool["name"], "parameters": tool["input_schema"]},
    }
    for tool in TOOLS
]
ARGUMENTS = {"file_path": "/tmp/ü漢🙂.txt", "content": 'a\\b\n"c"\t</parameter> <b>'}
IN_TEXT = '<tool_call>\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n</tool_call>'
READ = ("Read", {"file_path": "/a.txt"})
NATIVE = [("call_1", "Read", '{"file_path": "/a.txt"}')]


class Server:
    """A gateway in front of a server that answers in a script."""

    def __init__(self, **options):
        self.options = options

    async def __call__(self, answer, *, stream=True, **body):
        async with ScriptedUpstream(answer) as upstream:
            plugins = [
                build_plugin(OpenAIApi, "openai-api"),
                build_plugin(ToolRepair, "tool-repair", **self.options),
                build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1"),
            ]
            async with gateway(plugins) as running:
                asked = {
                    "model": "anthropic/up/m",
                    "messages": [{"role": "user", "content": "read it"}],
                    "tools": FUNCTIONS,
                    "stream": stream,
                    **body,
                }
                got = await running.client.post("/v1/chat/completions", json=asked)
        assert got.status_code == 200, got.text
        return got.content


@pytest.fixture
def ask():
    return Server()


def cut(text, chance):
    start = 0
    while start < len(text):
        end = start + chance.randint(1, 12)
        yield text[start:end]
        start = end


def streamed(text, chance, finish="stop"):
    """A text in random pieces, in random chunks of bytes."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": c} for c in cut(text, chance))]
    events = [data(chunk(delta)) for delta in deltas]
    sizes = [chance.randint(1, 300) for _ in range(20)]
    return sse([*events, data(chunk({}, finish)), b"data: [DONE]\n\n"], chunk_sizes=sizes)


def read(content):
    """What a client makes of a stream: the text, the reasoning, the calls, the reason."""
    text, thought, calls, reason = "", "", {}, None
    for line in content.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[6:])["choices"]:
            delta = choice["delta"]
            text += delta.get("content") or ""
            thought += delta.get("reasoning_content") or ""
            for piece in delta.get("tool_calls", ()):
                call = calls.setdefault(piece["index"], ["", ""])
                call[0] += piece["function"].get("name") or ""
                call[1] += piece["function"]["arguments"]
            assert reason is None or not choice["finish_reason"]
            reason = choice["finish_reason"] or reason
    assert content.endswith(b"data: [DONE]\n\n")
    return text, thought, [(name, json.loads(args)) for name, args in calls.values()], reason


def read_whole(content):
    choice = json.loads(content)["choices"][0]
    message = choice["message"]
    calls = [c["function"] for c in message.get("tool_calls", ())]
    assert len({c["id"] for c in message.get("tool_calls", ())}) == len(calls)
    made = [(call["name"], json.loads(call["arguments"])) for call in calls]
    thought = message.get("reasoning_content", "")
    return message["content"] or "", thought, made, choice["finish_reason"]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
async def test_a_call_in_text_becomes_a_call_however_it_is_cut(ask, family, seed):
    call = write_call(family, "Write", ARGUMENTS, TOOLS[2]["input_schema"])
    text = call.join(family.section)
    streaming = read(await ask(streamed(text, random.Random(f"{family.name} {seed}"))))
    whole = read_whole(await ask(respond(200, chat_message(text)), stream=False))
    for said, thought, calls, reason in (streaming, whole):
        assert (said.strip(), thought) == ("", "")
        assert calls == [("Write", ARGUMENTS)]
        assert reason == "tool_calls"


async def test_words_before_a_call_come_at_once_and_the_call_behind_them(ask):
    text = f"I read it.\n{IN_TEXT}\n{IN_TEXT.replace('/a.txt', '/b.txt')}"
    got = read(await ask(streamed(text, random.Random(1))))
    calls = [READ, ("Read", {"file_path": "/b.txt"})]
    assert (got[0].strip(), got[2], got[3]) == ("I read it.", calls, "tool_calls")


async def test_reasoning_in_text_is_told_apart(ask):
    got = read(await ask(streamed(f"<think>\nHm.\n</think>\n\n{IN_TEXT}", random.Random(2))))
    assert (got[0].strip(), got[1].strip(), got[2]) == ("", "Hm.", [READ])


@pytest.mark.parametrize(
    "events",
    [
        chat_stream("Plain words, `code` and a < b."),
        chat_stream("", tool_calls=NATIVE),
        chat_stream("I read it.", tool_calls=NATIVE, thinking="Hm."),
        [data({"odd": 1}), data(chunk({"content": None, "x": 1})), *chat_stream("Hi.")],
        [b": keep\n\n", b"data: no JSON\n\n", *chat_stream("Plain words.")],
        [data(chunk({"content": "both"})), data({"choices": [{}, {}]}), *chat_stream("Hi.")],
    ],
    ids=["words", "parsed", "both", "odd", "no JSON", "choices"],
)
async def test_what_holds_no_call_passes_byte_for_byte(ask, events):
    sent = b"".join(events)
    assert await ask(sse(events, chunk_sizes=[7, 50, 3])) == sent


async def test_words_about_calls_stay(ask):
    words = "Models write <tool_call> tags for the Bash tool, and `<function=Read>` in code."
    assert read(await ask(sse(chat_stream(words)))) == (words, "", [], "stop")


async def test_a_whole_answer_without_a_call_passes_byte_for_byte(ask):
    body = json.dumps(chat_message("Plain words."), indent=1).encode()
    assert await ask(respond(200, body, {"content-type": "application/json"}), stream=False) == body


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_that_the_server_parsed_too_is_made_once(ask, stream):
    told = {"text": f"So: {IN_TEXT}", "tool_calls": NATIVE}
    answer = sse(chat_stream(**told)) if stream else respond(200, chat_message(**told))
    got = await ask(answer, stream=stream)
    text, _, calls, reason = read(got) if stream else read_whole(got)
    assert (text.strip(), calls, reason) == ("So:", [READ], "tool_calls")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_beside_another_that_the_server_parsed_comes_after_it(ask, stream):
    told = {"text": IN_TEXT, "tool_calls": [("call_1", "Bash", '{"command": "ls"}')]}
    answer = sse(chat_stream(**told)) if stream else respond(200, chat_message(**told))
    got = await ask(answer, stream=stream)
    _, _, calls, reason = read(got) if stream else read_whole(got)
    assert (calls, reason) == ([("Bash", {"command": "ls"}), READ], "tool_calls")


async def test_a_call_that_was_cut_off_is_not_made(ask):
    text, _, calls, reason = read(await ask(streamed(IN_TEXT[:40], random.Random(3), "length")))
    assert (calls, reason) == ([], "length")
    assert "cut off" in text


async def test_wrong_names_and_kinds_are_mended(ask):
    call = '<tool_call>\n{"name": "bash", "arguments": {"Command": "ls", "timeout": "5"}}\n</tool_call>'
    got = read(await ask(streamed(call, random.Random(4))))
    assert got[2] == [("Bash", {"command": "ls", "timeout": 5})]


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [], "tool_choice": None},
        {"tool_choice": "none"},
        {"n": 2},
        {"tools": [*FUNCTIONS, {"type": "custom", "custom": {"name": "patch"}}]},
    ],
    ids=["no tools", "none", "two answers", "custom"],
)
async def test_nothing_is_read_where_no_call_can_be_made(ask, body):
    events = chat_stream(IN_TEXT)
    body = {name: value for name, value in body.items() if value is not None}
    assert await ask(sse(events), **body) == b"".join(events)


async def test_without_rescue_nothing_is_read():
    events = chat_stream(IN_TEXT)
    assert await Server(rescue=False)(sse(events)) == b"".join(events)
