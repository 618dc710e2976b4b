"""A call that was cut off is never completed; calls that were complete before it stay."""

from __future__ import annotations

import json

import pytest

from plugway import event
from plugway_tool_repair._pieces import Calls
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._repairer import Repairer
from plugway_toolcalls import own_format, write_call
from plugway_toolcalls.marks import SEARCHED
from tests.slow import share

from .conftest import TOOLBOX

SAMPLES = [
    pytest.param(sample, id=f"{family.name}-{number}")
    for family in SEARCHED
    for number, sample in enumerate(family.samples)
    if any(block[0] == "call" for block in sample.blocks)
]
ARGUMENTS = [
    {"command": "echo ran > ran.txt", "timeout": 600},
    {"command": "x", "timeout": 1234567},
    {"edits": [1, 2, 3], "all": True},
    {"edits": [{"a": [1, {"b": "c"}]}, "d"], "all": False},
    {"file_path": "/tmp/ü漢🙂.txt", "content": 'a\\b\n"c"\t'},
    {"file_path": "/a", "content": '<tool_call>{"name": "Bash"}</tool_call> ```json {} ```'},
    {"file_path": "/a", "content": "}}]]{{[[\\\\"},
    {"command": ""},
    {"command": "rm -rf build && make", "timeout": 0},
    {"edits": [], "all": False},
]
REASONS = ("max_tokens", "model_context_window_exceeded", "stop_sequence", "refusal")


def answer(*blocks, reason="max_tokens"):
    """The events of an answer: a text is one block, (name, arguments) a call."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    yield event("message_start", message={"content": [], "usage": usage})
    for index, block in enumerate(blocks):
        if isinstance(block, str):
            start, kind, name = {"type": "text", "text": ""}, "text_delta", "text"
            text = block
        else:
            tool, text = block
            start = {"type": "tool_use", "id": f"toolu_{index}", "name": tool, "input": {}}
            kind, name = "input_json_delta", "partial_json"
        yield event("content_block_start", index=index, content_block=start)
        for at in range(0, len(text), 5):
            delta = {"type": kind, name: text[at : at + 5]}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta={"stop_reason": reason}, usage=usage)
    yield event("message_stop")


def read(events):
    """The calls that a client would run, the text that it shows, and the reason of the end."""
    repairer = Repairer(TOOLBOX, lambda _: None, rescue=True, leaks=True, model="m")
    repairer.judged = True
    calls, text, reason, json_text, name = [], "", None, "", ""
    for item in events:
        for made in repairer.feed(item):
            data = made.data
            if made.type == "content_block_start":
                name = data["content_block"].get("name", "")
                json_text = ""
            elif made.type == "content_block_delta":
                json_text += data["delta"].get("partial_json", "")
                text += data["delta"].get("text", "")
            elif made.type == "content_block_stop" and name:
                calls.append((name, json.loads(json_text or "{}")))
                name = ""
            elif made.type == "message_delta":
                reason = data["delta"]["stop_reason"]
    return calls, text, reason


@pytest.mark.parametrize("given", ARGUMENTS, ids=range(len(ARGUMENTS)))
def test_a_native_call_is_whole_or_not_there_at_every_cut(given):
    tool = {"command": "Bash", "edits": "Edit"}.get(next(iter(given)), "Write")
    whole = json.dumps(given, ensure_ascii=False)
    first = ("Read", '{"file_path": "/before"}')
    for end in range(len(whole) + 1):
        calls, _, reason = read(answer(first, (tool, whole[:end])))
        wanted = [("Read", {"file_path": "/before"})]
        assert calls == wanted + [(tool, given)] * (end == len(whole)), whole[:end]
        assert reason == "max_tokens"


@pytest.mark.parametrize("reason", REASONS)
def test_whatever_cut_an_answer_off_its_last_call_is_not_closed(reason):
    cut = ("Bash", '{"command": "echo ran > ran.txt", "timeout": 60')
    calls, text, told = read(answer(cut, reason=reason))
    assert calls == []
    assert "`Bash`" in text
    assert told == reason


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_call_in_text_is_whole_or_not_there_at_every_cut(sample):
    wanted, _, _ = read(answer(sample.text, reason="end_turn"))
    assert wanted
    for end in share(range(len(sample.text)), len(sample.text), 3):
        calls, _, _ = read(answer(sample.text[:end]))
        assert calls == wanted[: len(calls)], sample.text[:end]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_whole_call_in_text_stays_where_the_answer_is_cut_right_behind_it(sample):
    wanted, _, _ = read(answer(sample.text, reason="end_turn"))
    calls, _, reason = read(answer(sample.text + "\nAnd then I would go on to"))
    in_a_fence = "```" in sample.text  # with more text behind it, it may be an example
    # Where values stand as they are, what follows may be the rest of one.
    raw = ("</", "<|tool_call>", "<start_function_call>", "<|open|>")
    as_it_is = any(mark in sample.text for mark in raw)
    assert calls == wanted or ((in_a_fence or as_it_is) and not calls)
    assert reason == "max_tokens"


def test_an_answer_that_is_nothing_but_a_cut_call_says_so():
    calls, text, reason = read(answer('<tool_call>\n{"name": "Bash", "arguments": {"command": "r'))
    assert (calls, reason) == ([], "max_tokens")
    assert "cut off" in text
    assert "`Bash`" in text


def test_a_call_that_merely_lacks_a_brace_is_closed_as_before():
    calls, _, reason = read(answer(("Bash", '{"command": "ls"'), reason="tool_use"))
    assert calls == [("Bash", {"command": "ls"})]
    assert reason == "tool_use"


BASH = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}


def block_events(index, text, *, start=BASH):
    delta = {"type": "input_json_delta", "partial_json": text}
    return [
        event("content_block_start", index=index, content_block={**start, "id": f"t{index}"}),
        event("content_block_delta", index=index, delta=delta),
        event("content_block_stop", index=index),
    ]


def ended(reason, tokens=1):
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": tokens})]


def test_of_calls_that_stop_together_none_is_closed():
    one, two = block_events(0, '{"command": "x"'), block_events(1, '{"command": "y"')
    calls, text, _ = read([*one[:2], *two[:2], one[2], two[2], *ended("max_tokens")])
    assert calls == []
    assert "cut off" in text


@pytest.mark.parametrize("reason", [None, "pause_turn", "new_reason"])
def test_a_reason_that_does_not_say_that_the_model_had_ended_closes_nothing(reason):
    calls, _, _ = read([*block_events(0, '{"command": "x"'), *ended(reason)])
    assert calls == []


def test_an_object_that_the_server_closed_is_no_whole_call():
    start = {**BASH, "input": {"command": "rm -r build"}}
    first, _, last = block_events(0, "", start=start)
    calls, text, reason = read([first, last, *ended("max_tokens")])
    assert (calls, reason) == ([], "max_tokens")
    assert "`Bash`" in text


def test_a_whole_object_in_the_start_of_a_block_stays_where_something_follows_it():
    start = {**BASH, "input": {"command": "ls"}}
    first, _, last = block_events(0, "", start=start)
    calls, _, _ = read([first, last, *block_events(1, '{"comm'), *ended("max_tokens")])
    assert len(calls) == 1


def test_words_about_calls_stay_where_an_answer_was_cut_off():
    words = "Models write <tool_call> tags for the Bash tool, and the"
    assert read(answer(words)) == ([], words, "max_tokens")


RAW = [f for f in SEARCHED if own_format(f).kind in {"tags", "braces"}]


@pytest.mark.parametrize("family", RAW, ids=lambda family: family.name)
def test_a_value_that_is_cut_behind_a_closing_tag_of_it_gives_no_call(family):
    def tagged(tool, key, value):
        # A value that needs escaping is put where a plain one stood, as a model writes it.
        return write_call(family, tool, {key: "VALUE"}).replace("VALUE", value)

    inner = tagged("Read", "file_path", "/a")
    closing = inner[inner.index("/a") + 2 :]
    for value in (f"Use {inner} to read.", f"Ends: {closing} here.", f"{closing}</p"):
        text = tagged("Write", "content", value)
        begin = text.index(inner) if inner in value else text.index(closing) + len(closing) + 2
        for at in range(begin, text.index(value) + len(value) + 1):
            prose = Prose(TOOLBOX, None)
            pieces = [*prose.feed(text[:at]), *prose.finish(cut=True)]
            assert not [piece for piece in pieces if isinstance(piece, Calls)], text[:at]
