"""A client of Chat Completions in front of a server of it: its answers pass as they are, but for calls
that the model wrote as text."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from plugway import StreamInterrupted
from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond, sse
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream, chunk, data
from plugway_tool_repair import ToolRepair
from plugway_tool_repair._chat import ChatText
from plugway_tool_repair._chat_bytes import ChatStream
from plugway_tool_repair._repairer import Repairer
from plugway_toolcalls import write_call
from plugway_toolcalls.marks import SEARCHED
from plugway_translation import safe_name
from tests.slow import quick_first

from .conftest import TOOLBOX, TOOLS

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
        self.requests = []

    async def __call__(self, *answers, stream=True, status=200, **body):
        async with ScriptedUpstream(*answers) as upstream:
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
            self.requests = [request.json for request in upstream.requests]
        assert got.status_code == status, got.text
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
            said = delta.get("content") or ""
            text += said if isinstance(said, str) else "".join(part["text"] for part in said)
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


@pytest.mark.parametrize("seed", quick_first(range(3), 1))
@pytest.mark.parametrize("family", SEARCHED, ids=[family.name for family in SEARCHED])
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
        chat_stream("Plain words, `code` and a = b."),
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


async def test_a_piece_that_may_begin_a_call_goes_out_with_the_next_one(ask):
    words = "If a < b then `x` else y."
    assert read(await ask(sse(chat_stream(words)))) == (words, "", [], "stop")


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


@pytest.mark.parametrize("seed", range(3))
async def test_words_about_the_end_of_a_stream_do_not_end_it(ask, seed):
    said = "The stream ends with `data: [DONE]`."
    events = [data(chunk({"content": said})), data(chunk({"content": f"\n{IN_TEXT}"}))]
    events += [data(chunk({}, "stop")), b"data: [DONE]\n\n"]
    sizes = [random.Random(seed).randint(1, 90) for _ in range(9)]
    text, _, calls, reason = read(await ask(sse(events, chunk_sizes=sizes)))
    assert (text.strip(), calls, reason) == (said, [READ], "tool_calls")


async def test_a_call_may_write_the_end_of_a_stream_into_a_file(ask):
    given = {"file_path": "/a.txt", "content": "data: [DONE]\n\ndata: [DONE]"}
    call = {"name": "Write", "arguments": given}
    got = read(await ask(sse(chat_stream(f"<tool_call>\n{json.dumps(call)}\n</tool_call>"))))
    assert (got[2], got[3]) == ([("Write", given)], "tool_calls")


@pytest.mark.parametrize("name", ["files.read", "read file", "größe", "a:b/c"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_relayed_model_calls_tools_by_the_names_that_the_client_sent(ask, name, stream):
    function = {"name": name, "parameters": TOOLS[0]["input_schema"]}
    tools = [{"type": "function", "function": function}]
    made = []
    for called in (name, safe_name(name)):
        call = {"name": called, "arguments": {"file_path": "ls"}}
        text = f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
        answer = sse(chat_stream(text)) if stream else respond(200, chat_message(text))
        got = await ask(answer, stream=stream, tools=tools)
        made.append((read(got) if stream else read_whole(got))[2])
    assert made[0] == [(name, {"file_path": "ls"})]
    assert made[1] in ([], made[0])  # never under a name that the client does not have


def reasons(content):
    events = [line[6:] for line in content.decode().splitlines() if line.startswith("data: {")]
    return [choice["finish_reason"] for line in events for choice in json.loads(line)["choices"]]


@pytest.mark.parametrize("filler", ["", None])
async def test_a_finish_reason_without_a_value_is_not_the_end(ask, filler):
    deltas = [{"content": piece} for piece in cut(f"So.\n{IN_TEXT}", random.Random(5))]
    events = [data(chunk(delta, filler)) for delta in deltas]
    got = await ask(sse([*events, data(chunk({}, "stop")), b"data: [DONE]\n\n"]))
    text, _, calls, reason = read(got)
    assert (text.strip(), calls, reason) == ("So.", [READ], "tool_calls")


@pytest.mark.parametrize("filler", ["", None])
async def test_calls_of_a_stream_that_never_says_why_it_ends_have_a_reason(ask, filler):
    events = [data(chunk({"content": IN_TEXT}, filler)), b"data: [DONE]\n\n"]
    got = await ask(sse(events))
    assert (read(got)[2], reasons(got)[-1]) == ([READ], "tool_calls")


async def test_a_reason_that_is_sent_twice_stays_the_same(ask):
    events = [data(chunk({"content": IN_TEXT})), data(chunk({}, "stop")), data(chunk({}, "stop"))]
    got = await ask(sse([*events, b"data: [DONE]\n\n"]))
    assert [reason for reason in reasons(got) if reason] == ["tool_calls", "tool_calls"]


@pytest.mark.parametrize("stream", [True, False])
async def test_text_in_parts_is_read_too(ask, stream):
    parts = [{"type": "text", "text": "So: "}, {"type": "text", "text": IN_TEXT}]
    if stream:
        events = [data(chunk({"content": [part]})) for part in parts]
        answer = sse([*events, data(chunk({}, "stop")), b"data: [DONE]\n\n"])
    else:
        message = chat_message("")
        message["choices"][0]["message"]["content"] = parts
        answer = respond(200, message)
    got = await ask(answer, stream=stream)
    text, _, calls, reason = read(got) if stream else read_whole(got)
    assert (text.strip(), calls, reason) == ("So:", [READ], "tool_calls")


async def broken(held, end):
    """The events of a stream that breaks off, before its last event if that is an error."""
    for delta in ("So: ", *held):
        yield data(chunk({"content": delta}))
    if end is None:
        return
    if isinstance(end, bytes):
        yield end
    raise StreamInterrupted("boom")


@pytest.mark.parametrize("held", [IN_TEXT[:45], "and <tool", "a `b <function="])
@pytest.mark.parametrize(
    "end", [None, "cut", data({"error": {"message": "boom"}})], ids=["over", "cut", "error"]
)
async def test_a_stream_that_breaks_off_keeps_its_text(held, end):
    repairer = Repairer(TOOLBOX, print, rescue=True, leaks=True, model="m")
    repairer.judged = True
    got = b""
    with suppress(StreamInterrupted):
        async for piece in ChatStream(ChatText(repairer, TOOLBOX, print)).read(broken(held, end)):
            got += piece
    events = [json.loads(line[6:]) for line in got.decode().splitlines() if line]
    said = [c["delta"].get("content", "") for item in events for c in item.get("choices", ())]
    assert "".join(said) == f"So: {held}"
    assert ("error" in events[-1]) is isinstance(end, bytes)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_that_a_stop_sequence_cut_off_is_not_blamed_on_the_limit(ask, stream):
    told = IN_TEXT[:45]
    answer = sse(chat_stream(told)) if stream else respond(200, chat_message(told))
    got = await ask(answer, stream=stream, stop=["</tool_call>", "END"])
    text, _, calls, reason = read(got) if stream else read_whole(got)
    assert (calls, reason) == ([], "stop")
    assert "cut off before" in text
