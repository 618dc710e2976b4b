"""Pain 1 of FEATURES section 7: tool calls appear as plain text, and nothing is executed."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_tool_repair._tools import Verdict
from plugway_toolcalls import OutputParser, marks
from plugway_toolcalls.marks import SEARCHED
from plugway_toolcalls.testing import as_blocks

from .conftest import TOOLBOX, calls_of, pieces_of

SAMPLES = [
    pytest.param(sample, id=f"{family.name}-{number}")
    for family in SEARCHED
    for number, sample in enumerate(family.samples)
]
FIRST = {
    family.name: next(
        s.text for s in family.samples if [b[0] for b in s.blocks] == ["call"] and "Read" in s.text
    )
    for family in SEARCHED
}
READ = [("call", "Read", {"file_path": "/a.txt"})]


def expected(sample):
    return [("call", b[1], json.loads(b[2])) for b in sample.blocks if b[0] == "call"]


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("sample", SAMPLES)
def test_pain_1_recorded_calls_in_text_become_calls(sample, size):
    assert calls_of(sample.text, size) == expected(sample)


WRONG = {
    "trailing comma": lambda t: re.sub(r'"(\s*)\}', r'",\1}', t, count=1),
    "single quotes": lambda t: t.replace('"/a.txt"', "'/a.txt'").replace(
        '"file_path":', "'file_path':"
    ),
    "comment": lambda t: t.replace('"file_path":', '/* the file */ "file_path":'),
    "line comment": lambda t: t.replace('"file_path":', '// the file\n"file_path":'),
    "bare key": lambda t: t.replace('"file_path":', "file_path:"),
    "wrong case of the tool": lambda t: t.replace("Read", "read"),
    "capitals": lambda t: t.replace("Read", "READ"),
    "quoted path": lambda t: t.replace('"/a.txt"', '"\\"/a.txt\\""'),
    "camel case": lambda t: t.replace("file_path", "filePath"),
    "argument in capitals": lambda t: t.replace("file_path", "FILE_PATH"),
    "leak behind": lambda t: t + "<|im_end|>",
    "end token behind": lambda t: t + "<|eot_id|>",
    "eos behind": lambda t: t + "</s>",
    "unused token behind": lambda t: t + "<unused24>",
    "line before": lambda t: "\n" + t,
    "lines around": lambda t: "\n\n" + t + "\n\n",
    "twice closed": lambda t: t + "\n</tool_call>",
    "thinking before": lambda t: "<think>I should read.</think>\n" + t,
    "thinking before, with space": lambda t: "<think>\nHm\n</think>\n\n\n" + t,
    "text before": lambda t: t if t[0] in "{[" else "I look.\n" + t,
    "leak before": lambda t: "<|im_start|>assistant\n" + t,
}


def mended(text):
    from .conftest import TOOLBOX

    result = []
    for _, name, arguments in calls_of(text):
        verdict = TOOLBOX.judge(name, json.dumps(arguments))
        assert not verdict.problems
        result.append(("call", verdict.name, json.loads(verdict.arguments)))
    return result


@pytest.mark.parametrize("family", FIRST)
@pytest.mark.parametrize("wrong", WRONG)
def test_pain_1_calls_in_twenty_wrong_shapes_become_valid_calls(family, wrong):
    assert mended(WRONG[wrong](FIRST[family])) == READ


MENTIONS = [
    "The Read tool takes a file_path.",
    "Use `<tool_call>` tags around the call.",
    'Write `<tool_call>{"name": "Read", "arguments": {"file_path": "/a"}}</tool_call>` to read.',
    'For example:\n```\n<tool_call>{"name": "Read", "arguments": {"file_path": "/a"}}</tool_call>\n```\nDone.',
    'To read, say {"name": "Read", "arguments": {"file_path": "/a.txt"}} and wait.',
    "<tool_call> is a tag that models write.",
    "Qwen writes <function=NAME> and then parameters. " * 30,
    '<tool_call>{"name": "Fly", "arguments": {}}</tool_call>',
    '{"name": "Bob", "age": 3}',
    "[link](http://example.com) and [1, 2]",
    "[TOOL_CALLS] is Mistral's marker.",
    'The config:\n```json\n{"name": "x", "version": "1"}\n```\nis short.',
    "`Read(file_path='/a')` in Python.",
    "a < b and c[0] > d; x = `y`; <div>Read</div>",
    "<s>old</s> and <think> between </think> tags",
    "In `<|im_end|>` the bar matters.",
]


@pytest.mark.parametrize("size", [None, 1, 5])
@pytest.mark.parametrize("text", MENTIONS)
def test_pain_1_text_that_mentions_a_tool_stays_text_to_the_letter(text, size):
    assert pieces_of(text, size) == [("text", text)]


WORDS = st.sampled_from(
    ["Read", "the file", "<tool", "_call", "`", "\n", "{", "}", '"name"', ": ", "<", "|", ">", "[",
     "tool", "Bash", "```", "json", "<function=", "<|", "call", "file_path", "arguments", " "]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=30), st.integers(1, 9))
def test_pain_1_nothing_is_invented_and_nothing_is_lost(words, size):
    text = "".join(words)
    whole = pieces_of(text)
    assert not [p for p in whole if p[0] == "call" and p[1] not in {"Read", "Bash"}]
    if not any(p[0] == "call" for p in whole):
        assert "".join(p[1] for p in whole) == text
    assert pieces_of(text, size) == whole


@pytest.mark.parametrize(
    "leak", ["<|im_end|>", "<|eot_id|>", "<unused24>", "</s>", "<end_of_turn>"]
)
@pytest.mark.parametrize("size", [None, 1])
def test_template_leaks_are_removed_and_counted(leak, size):
    leaks = Counter()
    assert pieces_of(f"Hi{leak} there.{leak}", size, leaks) == [("text", "Hi there.")]
    assert leaks == {leak: 2}


def test_a_call_in_a_fence_is_no_call_where_text_follows():
    from plugway_tool_repair._pieces import Calls
    from plugway_tool_repair._prose import Prose

    from .conftest import TOOLBOX

    text = 'So:\n```json\n{"name": "Read", "arguments": {"file_path": "/a"}}\n```'
    (call,) = [p for p in Prose(TOOLBOX, None).feed(text) if isinstance(p, Calls)]
    assert call.quoted
    assert call.source in text


def test_a_quarter_of_a_megabyte_of_arguments_in_text_is_read():
    content = "a line of some source code, as long\n" * 6_500
    call = json.dumps({"name": "Write", "arguments": {"file_path": "/a", "content": content}})
    text = f"On it. <tool_call>\n{call}\n</tool_call> Done."
    ((_, name, arguments),) = calls_of(text, 40_000)
    assert (name, arguments["content"]) == ("Write", content)


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "behind",
    [
        "(api.md#bash) runs it.",
        ": https://x",
        "[1]",
        ".pop()",
        "[0].run()",
        " == []",
        " is a list.",
    ],
)
def test_a_list_of_calls_that_goes_on_in_its_line_is_text(behind, size):
    for said in ("[Bash()]", "[Bash(command='ls'), Read(file_path='a')]"):
        assert pieces_of(said + behind, size) == [("text", said + behind)]


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("behind", ["", " \n", "<|eot_id|>", "<|im_end|>", "</s>", "\n[Bash()]"])
def test_a_list_of_calls_alone_in_its_line_is_calls(behind, size):
    more = [("call", "Bash", {})] if "Bash" in behind else []
    found = calls_of("[Read(file_path='/a.txt')]" + behind, size)
    assert found == READ + more


READ_AS_JSON = '{"name": "Read", "arguments": {"file_path": "/a.txt"}}'


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "behind", ["(api.md#bash) runs it.", ": https://x", "[1]", ".name", " is the format", ", or so"]
)
def test_json_that_goes_on_in_its_line_is_text(behind, size):
    for said in (READ_AS_JSON, f"[{READ_AS_JSON}]", f"[{READ_AS_JSON}, {READ_AS_JSON}]"):
        assert pieces_of(said + behind, size) == [("text", said + behind)]
    for family in (family for family in SEARCHED if family.name in {"llama", "llama4", "generic"}):
        parser = OutputParser(family, TOOLBOX.tools.values())
        text = f"[{READ_AS_JSON}]{behind}"
        parts = [part for sign in text for part in parser.feed(sign)]
        assert as_blocks(parts + parser.finish()) == [("text", text)]


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    "behind", ["", " \n", "}", "```", "<|eot_id|>", " <|im_end|>", "\nDone.", f"; {READ_AS_JSON}"]
)
def test_json_alone_in_its_line_is_a_call(behind, size):
    more = READ if "Read" in behind else []
    for said in (READ_AS_JSON, f"[{READ_AS_JSON}]"):
        assert calls_of(said + behind, size) == READ + more


CALL = '<tool_call>{"name": "Read", "arguments": {"file_path": "/a.txt"}}</tool_call>'
IN_CODE = {
    "tildes": f"So:\n~~~\n{CALL}\n~~~\nDone.",
    "tildes with a name": f"So:\n~~~xml\n```\n{CALL}\n~~~\nDone.",
    "a longer fence": f"So:\n`````\n```\n{CALL}\n```\n{CALL}\n`````\nDone.",
    "a longer fence with a name": f"So:\n````json\n```json\n{CALL}\n```\n{CALL}\n````\nDone.",
    "longer tildes": f"So:\n~~~~\n~~~\n{CALL}\n~~~~\nDone.",
    "a fence with a name in a fence": f"So:\n```\n```xml\n{CALL}\n```\nDone.",
    "a quote": f"So:\n> ```\n> {CALL}\n> ```\nDone.",
    "a quote in a quote": f"So:\n> > ~~~\n> > {CALL}\n> > ~~~\nDone.",
    "a list": f"So:\n- ```\n  {CALL}\n  ```\nDone.",
    "a span over two lines": f"So `write\n{CALL}` there.",
    "a span of two backticks": f"So ``a ` b {CALL}`` there.",
    "a span of three backticks": f"So ```a {CALL}``` there.",
}


@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize("text", IN_CODE.values(), ids=IN_CODE)
def test_a_call_in_markdown_code_of_any_kind_is_text(text, size):
    assert pieces_of(text, size) == [("text", text)]


BEHIND_CODE = {
    "tildes": "So:\n~~~\nx\n~~~\n",
    "a longer fence": "So:\n````\n```\n````\n",
    "a fence in a quote": "So:\n> ```\n> x\n",
    "a span": "So ``a`b`` is\n",
    "a paragraph with a backtick": "So a ` is\n\n",
    "tildes in a line": "About ~5 or ~~~ 6\n",
}


@pytest.mark.parametrize("size", [None, 1, 3])
@pytest.mark.parametrize("text", BEHIND_CODE.values(), ids=BEHIND_CODE)
def test_a_call_behind_markdown_code_is_a_call(text, size):
    assert calls_of(text + CALL, size) == READ


@pytest.mark.parametrize("text", ['{"n": NaN}', '{"n": [Infinity]}', '{"n": "x", "m": -Infinity,}'])
def test_numbers_that_json_does_not_have_are_a_problem(text):
    verdict = TOOLBOX.judge("Edit", text)
    assert "not valid JSON" in verdict.problems[0]
    assert not verdict.is_readable


def test_a_number_that_is_too_large_passes_as_it_was_written_or_is_a_problem():
    assert TOOLBOX.judge("Edit", '{"n": 1e999}') == Verdict("Edit", '{"n": 1e999}')
    changed = TOOLBOX.judge("Edit", '{"n": 1e999, "all": "true"}')
    assert changed.problems == ("a number in the arguments is too large for JSON",)
    assert not TOOLBOX.judge("Edit", '{"n": ' + "9" * 400 + "}").problems


def test_half_of_a_surrogate_pair_in_a_call_can_be_sent():
    call = r'<tool_call>{"name": "Read", "arguments": {"file_path": "/a\ud83d"}}</tool_call>'
    assert calls_of(call) == [("call", "Read", {"file_path": "/a\ufffd"})]


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize(("opening", "closing"), marks.THINKING.items())
def test_reasoning_between_the_markers_of_any_family_is_reasoning(opening, closing, size):
    text = f"{opening}\nHm <b>.\n{closing}\nDone."
    pieces = pieces_of(text, size)
    assert [kind for kind, _ in pieces] == ["thinking", "text"]
    assert (pieces[0][1].strip(), pieces[1][1].strip()) == ("Hm <b>.", "Done.")


def test_all_families_but_two_have_such_markers():
    known = {pair for family in SEARCHED for pair in family.reasoning} - {*marks.THINKING.items()}
    assert {opening for opening, _ in known} == {"<|channel>", "Here are my reasoning steps:"}


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize(
    ("call", "closing"),
    [
        ('<function=Bash>{"command": "ls"}</function>', "</function>"),
        ('<function_calls>Bash(command="ls")</function_calls>', "\n</function_calls>"),
    ],
)
def test_a_marker_that_closes_a_call_again_is_no_text_however_it_comes(call, closing, size):
    assert pieces_of(call + closing, size) == [("call", "Bash", {"command": "ls"})]
    found = pieces_of(call + "</functional", size)
    assert found[1:] == [("text", "</functional")]
