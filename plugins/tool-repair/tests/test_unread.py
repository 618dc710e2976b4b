"""Calls that cannot be read, arguments that are no JSON, and answers that are only reasoning."""

from __future__ import annotations

import json

import pytest

from plugway.testing import anthropic_message, anthropic_stream, respond, sse
from plugway_toolcalls import own_format, write_call
from plugway_toolcalls.marks import SEARCHED

from .conftest import TOOLBOX, calls_of
from .test_forced import asked  # noqa: F401
from .test_gateway import options, part, raw_stream, running, start, stop  # noqa: F401

pytestmark = pytest.mark.anyio
GOOD = raw_stream(start(0), part(0, '{"command": "ls"}'), stop(0))
UNREAD = {
    "quotes that are not escaped": '<tool_call>\n{"name": "Bash", "arguments": {"command": "echo "hi" now"}}\n</tool_call>',
    "no value": '<tool_call>{"name": "Bash", "arguments": }</tool_call>',
    "a list in a list": '[TOOL_CALLS]Bash[ARGS]{"command": [a b]}',
    "text between arguments": "<function=Bash>\n<parameter=command>\nls\n</parameter>\nand then\n</function>",
    "braces": "<|tool_call>call:Bash{command:}<tool_call|>",
}
HEADED = "<|channel|>commentary to=functions.Bash<|message|>{command: no}<|call|>"


@pytest.mark.parametrize("written", [*UNREAD.values(), HEADED], ids=[*UNREAD, "a header"])
async def test_a_call_between_sure_marks_that_cannot_be_read_is_asked_for_again(running, written):  # noqa: F811
    content, reason = await running.content(sse(anthropic_stream(written)), GOOD)
    assert content == [("Bash", {"command": "ls"})]
    assert reason == "tool_use"
    said, told = running.upstream.requests[1].json["messages"][-2:]
    assert said["role"] == "assistant"
    assert written.strip() in str(
        said["content"][0]["text"] if isinstance(said["content"], list) else said["content"]
    )
    assert "cannot be parsed" in str(told["content"])


@pytest.mark.parametrize("written", UNREAD.values(), ids=UNREAD.keys())
async def test_one_that_stays_unread_is_text(running, written):  # noqa: F811
    script = sse(anthropic_stream(written))
    content, reason = await running.content(script, script)
    assert "".join(content).strip() == written.strip()
    assert reason == "end_turn"
    assert len(running.upstream.requests) == 2


async def test_the_receipt_tells_of_what_cannot_be_read(asked):  # noqa: F811
    script = sse(anthropic_stream(UNREAD["no value"]))
    assert await asked(script, script, choice={"type": "auto"}) == [("text", "")]
    assert "retried: the call to `Bash` has 1 problem" in asked.lines
    assert "the call to `Bash` is kept as text: it cannot be parsed" in asked.lines


async def test_after_text_it_stays_text(running):  # noqa: F811
    written = f"I run it. {UNREAD['no value']}"
    content, _ = await running.content(sse(anthropic_stream(["I run it. ", UNREAD["no value"]])))
    assert "".join(content) == written
    assert len(running.upstream.requests) == 1


@pytest.mark.parametrize(
    "words",
    [
        "<tool_call> is the tag in which Bash is called.",
        "A call of Bash begins with <tool_call>, then comes JSON.",
        "`<tool_call>{Bash}`",
        '<tool_call>{"name": "Fly", "arguments": }</tool_call>',
    ],
)
async def test_words_about_calls_are_not_asked_for_again(running, words):  # noqa: F811
    content, _ = await running.content(sse(anthropic_stream(words)))
    assert "".join(content) == words
    assert len(running.upstream.requests) == 1


NO_JSON = [
    '{"command": "say "hi" now"}',
    "command: ls",
    '{"command": "C:\\new\\dir"}',
    "[1]",
    '"ls"',
    "{'a': }",
]


@pytest.mark.parametrize("written", NO_JSON)
async def test_arguments_that_are_no_json_object_never_reach_a_client(running, written):  # noqa: F811
    bad = raw_stream(start(0), part(0, written), stop(0))
    content, reason = await running.content(bad, bad)
    assert content == ["[The call to `Bash` was not made: its arguments are not valid JSON.]"]
    assert reason == "end_turn"
    assert len(running.upstream.requests) == 2


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r'{"command": "\d+"}', r"\d+"),
        (r'{"command": "a\.b \\w \"x\""}', r'a\.b \w "x"'),
        (r'{"command": "C:\Users\x"}', r"C:\Users\x"),
        (r'{"command": "C:\new\dir"}', None),
        (r'{"command": "\(a\)\s*"}', r"\(a\)\s*"),
    ],
)
def test_a_backslash_that_json_does_not_know_is_one_where_it_can_be_nothing_else(written, meant):
    verdict = TOOLBOX.judge("Bash", written)
    if meant is None or verdict.problems:
        assert meant is None
    else:
        assert json.loads(verdict.arguments) == {"command": meant}
    text = f'<tool_call>{{"name": "Bash", "arguments": {written}}}</tool_call>'
    assert calls_of(text) == ([("call", "Bash", {"command": meant})] if meant else [])


@pytest.mark.parametrize(
    "name",
    [
        "Bash<|channel|>commentary",
        "functions.Bash:0",
        "Bash:12",
        "functions.Bash<|constrain|>json",
        "tools.Bash",
        "functions_Bash_2",
    ],
)
async def test_what_models_write_around_a_name_is_taken_off(running, name):  # noqa: F811
    script = raw_stream(start(0, name), part(0, '{"command": "ls"}'), stop(0))
    assert await running.content(script) == ([("Bash", {"command": "ls"})], "tool_use")


async def test_arguments_in_a_list_of_their_own_are_taken_out(running):  # noqa: F811
    script = raw_stream(start(0), part(0, '[{"command": "ls"}]'), stop(0))
    assert await running.content(script) == ([("Bash", {"command": "ls"})], "tool_use")


def thought(text: str, stop: str = "end_turn"):
    message = anthropic_message("x")
    content = [{"type": "thinking", "thinking": text, "signature": ""}]
    return respond(200, {**message, "content": content, "stop_reason": stop})


def streamed_thought(*pieces: str):
    block = {"type": "thinking", "thinking": "", "signature": ""}
    begun = (
        "content_block_start",
        {"type": "content_block_start", "index": 0, "content_block": block},
    )
    deltas = [
        (
            "content_block_delta",
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "thinking_delta", "thinking": piece},
            },
        )
        for piece in pieces
    ]
    signed = {"type": "signature_delta", "signature": "s"}
    delta = {"type": "content_block_delta", "index": 0, "delta": signed}
    deltas.append(("content_block_delta", delta))
    return raw_stream(begun, *deltas, stop(0), stop="end_turn")


WRITTEN = {f.name: f for f in SEARCHED if own_format(f).opening and f.header is None}


@pytest.mark.parametrize("name", WRITTEN)
async def test_a_call_at_the_end_of_reasoning_that_nothing_follows_is_made(running, name):  # noqa: F811
    family = WRITTEN[name]
    call = family.section[0] + write_call(family, "Bash", {"command": "ls"}) + family.section[1]
    pieces = ["I look.\n", *(call[at : at + 5] for at in range(0, len(call), 5))]
    content, reason = await running.content(streamed_thought(*pieces))
    assert content[1:] == [("Bash", {"command": "ls"})]
    assert content[0] == f"I look.\n{call}"
    assert reason == "tool_use"


async def test_reasoning_in_text_that_is_not_closed_is_looked_at_too(running):  # noqa: F811
    call = '<tool_call>{"name": "Bash", "arguments": {"command": "ls"}}</tool_call>'
    content, reason = await running.content(sse(anthropic_stream(f"<think>Hm. {call}")))
    assert content[1:] == [("Bash", {"command": "ls"})]
    assert reason == "tool_use"


@pytest.mark.parametrize("options", [{}, {"hold_thinking": True}])
async def test_reasoning_alone_is_no_answer(running, options):  # noqa: F811
    fields = {} if options else {"stream": False}
    script = streamed_thought("Hm.") if options else thought("Hm.")
    answer = await running.raw(
        script, GOOD if options else respond(200, anthropic_message("Hi.")), **fields
    )
    assert answer.status_code == 200
    assert len(running.upstream.requests) == 2
    assert ("Hi." if not options else "Bash") in answer.text


async def test_reasoning_that_only_mentions_a_call_is_handed_on(running):  # noqa: F811
    call = '<tool_call>{"name": "Bash", "arguments": {"command": "ls"}}</tool_call>'
    content, reason = await running.content(streamed_thought(call, " or not."))
    assert content == [f"{call} or not."]
    assert reason == "end_turn"


async def test_a_call_in_reasoning_before_an_answer_is_none(running):  # noqa: F811
    call = '<tool_call>{"name": "Bash", "arguments": {"command": "ls"}}</tool_call>'
    content, _ = await running.content(sse(anthropic_stream(f"<think>Maybe {call}</think>No.")))
    assert content[-1] == "No."
    assert not any(isinstance(block, tuple) for block in content)


HOLDING = {
    "hermes": '<tool_call>{{"name": "Write", "arguments": {{"content": "{}"}}}}</tool_call>',
    "hermes, with more quotes": '<tool_call>{{"name": "Write", "arguments": {{"content": "say "hi" {}"}}}}</tool_call>',
    "mistral": '[TOOL_CALLS]Write[ARGS]{{"content": "{}"}}',
    "functionary": '<function=Write>{{"content": "{}"}}</function>',
    "qwen": "<function=Write>\n<parameter=content>\nx\n</parameter>\nand {}\n</function>",
    "python": '[Write(content="say "hi" {}")]',
    "bare": '{{"name": "Write", "arguments": {{"content": "say "hi" {}"}}}}',
    "harmony": '<|channel|>commentary to=functions.Write<|message|>{{"content": "{}"}}<|call|>',
}
INNER = {
    family.name: write_call(family, "Bash", {"command": "rm"}).join(family.section)
    for family in SEARCHED
}


@pytest.mark.parametrize("outer", HOLDING)
def test_a_call_in_the_value_of_one_that_cannot_be_read_is_never_made(outer):
    for inner in INNER.values():
        for after in ("", " Done.\n"):
            made = calls_of(HOLDING[outer].format(inner) + after)
            assert all(name == "Write" for _, name, _ in made)
