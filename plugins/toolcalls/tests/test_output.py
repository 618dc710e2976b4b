"""Reading replies: in any pieces, with nothing said lost and nothing half a marker shown."""

from __future__ import annotations

import json
import random
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import Emitter
from plugway_toolcalls import (
    FAMILIES,
    CallEnd,
    OutputParser,
    TextDelta,
    ThinkingDelta,
    detect_family,
    to_events,
)
from plugway_toolcalls._families._base import CallFormat, Family
from plugway_toolcalls._write import write_call
from plugway_toolcalls.testing import as_blocks

from .conftest import TOOLS

BY_NAME = {family.name: family for family in FAMILIES}
HERMES = BY_NAME["hermes"]
GLUE = ["", " ", "\n", "\n\n", "Well. ", "a < b", "{", "}", '"', "\\", "[", "<", "</", "<|", "`"]


def read(family, pieces, tools=TOOLS, thinking=False):
    parser = OutputParser(family, tools, thinking=thinking)
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return parts + parser.finish()


@pytest.mark.parametrize("calls", [(), (CallFormat("json"),)], ids=["no calls", "bare calls"])
def test_a_family_without_markers_says_plain_text(calls):
    family = Family("plain", calls, (), reasoning=())
    assert read(family, ["Hel", "lo <think> there."]) == [
        TextDelta("Hel"),
        TextDelta("lo <think> there."),
    ]


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(edges)]


@st.composite
def replies(draw):
    """Replies, and what only looks like them: samples cut, glued and garbled."""
    family = draw(st.sampled_from(FAMILIES))
    markers = [*(spec.opening for spec in family.calls), *family.noise, *family.stops]
    markers += [mark for pair in family.reasoning for mark in pair]
    bits: list[str] = []
    for _ in range(draw(st.integers(1, 5))):
        sample = draw(st.sampled_from(family.samples)).text
        start = draw(st.integers(0, len(sample)))
        whole = draw(st.booleans())
        bits.append(sample if whole else sample[start : start + draw(st.integers(0, 60))])
        bits.append(draw(st.sampled_from([*GLUE, *markers])))
    return family, "".join(bits)


@settings(max_examples=300, deadline=None)
@given(replies(), st.lists(st.integers(0, 2000), max_size=8), st.booleans())
def test_any_split_of_a_reply_gives_the_same_parts(reply, cuts, thinking):
    family, text = reply
    whole = as_blocks(read(family, [text], thinking=thinking))
    assert as_blocks(read(family, pieces_of(text, cuts), thinking=thinking)) == whole
    assert as_blocks(read(family, list(text), thinking=thinking)) == whole


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_half_a_marker_is_never_shown(family):
    for spec in family.calls:
        for end in range(1, len(spec.opening)):
            assert OutputParser(family, TOOLS).feed(spec.opening[:end]) == []


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize(
    "text",
    [
        "Use the Read tool with file_path set to /a.txt.",
        "Read(file_path='/a.txt') would read it.",
        'The call is {"name": "Read", "arguments": {}} in JSON.',
        "1 < 2 and 3 > 2, as [1, 2] shows.",
    ],
)
def test_a_mention_of_a_tool_stays_text(family, text):
    assert as_blocks(read(family, list(text))) == [("text", text)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_without_tools_no_reply_holds_a_call(family):
    for sample in family.samples:
        kinds = {block[0] for block in as_blocks(read(family, [sample.text], tools=()))}
        assert kinds <= {"text", "thinking"}


def test_text_in_front_of_what_is_no_call_keeps_its_line_breaks():
    text = "Wrap it in\n<tool_call> tags, please."
    assert as_blocks(read(HERMES, list(text))) == [("text", text)]


def test_a_call_that_is_cut_off_is_an_error_with_all_its_text():
    text = 'Now.\n<tool_call>\n{"name": "Read", "arguments": {"file_pa'
    assert as_blocks(read(HERMES, [text])) == [("text", "Now."), ("error", text[4:])]


def test_a_call_that_has_begun_is_pending():
    parser = OutputParser(HERMES, TOOLS)
    assert parser.pending is None
    parser.feed('Go.\n<tool_call>\n{"na')
    pending = parser.pending
    assert pending is not None
    assert (pending.opening, pending.text) == ("<tool_call>", '\n{"na')
    assert parser.mode == "call"


def test_nan_and_infinity_are_no_arguments():
    for number in ("NaN", "Infinity", "1e999"):
        text = f'<tool_call>{{"name": "Bash", "arguments": {{"timeout": {number}}}}}</tool_call>'
        assert [block[0] for block in as_blocks(read(HERMES, [text]))] == ["error"]


def test_arguments_nested_beyond_reason_are_an_error():
    nested = "[" * 100_000 + "]" * 100_000
    text = f'<tool_call>{{"name": "Edit", "arguments": {{"edits": {nested}}}}}</tool_call>'
    assert [block[0] for block in as_blocks(read(HERMES, [text]))] == ["error"]


@pytest.mark.parametrize("name", ["hermes", "qwen-coder", "gemma4", "kimi", "glm"])
def test_a_long_call_costs_little_time_per_piece(name):
    words = 'a line of text, with {braces} and "quotes"\n' * 4000
    text = write_call(BY_NAME[name], "Write", {"content": words, "file_path": "/x"})
    started = time.process_time()
    parts = read(BY_NAME[name], [text[at : at + 5] for at in range(0, len(text), 5)])
    assert as_blocks(parts) == [("call", "Write", {"content": words, "file_path": "/x"})]
    assert time.process_time() - started < 4


def test_noise_is_read_in_time_that_grows_with_its_length():
    noise = "".join(random.Random(7).choices('<|{}[]"`tool_call>\n', k=60_000))
    started = time.process_time()
    for family in FAMILIES:
        read(family, [noise])
    assert time.process_time() - started < 5


def test_parts_become_the_events_of_a_legal_stream():
    emitter = Emitter(model="m")
    events = emitter.start({"input_tokens": 1, "output_tokens": 1})
    parts = [ThinkingDelta("Hm."), TextDelta("Hi.")]
    parts += read(
        HERMES, ['<tool_call>\n{"name": "Bash", "arguments": {"timeout": 5}}\n</tool_call>']
    )
    events += to_events(parts, emitter, signature="plugway.1.x")
    events += emitter.finish("tool_use", {"output_tokens": 9})
    kinds = [
        (event.type, event.data.get("content_block", event.data.get("delta", {})).get("type"))
        for event in events
    ]
    assert kinds == [
        ("message_start", None),
        ("content_block_start", "thinking"),
        ("content_block_delta", "thinking_delta"),
        ("content_block_delta", "signature_delta"),
        ("content_block_stop", None),
        ("content_block_start", "text"),
        ("content_block_delta", "text_delta"),
        ("content_block_stop", None),
        ("content_block_start", "tool_use"),
        ("content_block_delta", "input_json_delta"),
        ("content_block_stop", None),
        ("message_delta", None),
        ("message_stop", None),
    ]
    assert isinstance(parts[-1], CallEnd)


def test_a_faulty_call_is_shown_as_the_text_it_was():
    emitter = Emitter(model="m")
    emitter.start({"input_tokens": 1, "output_tokens": 1})
    text = '<tool_call>{"name": "Fly", "arguments": {}}</tool_call>'
    events = to_events(read(HERMES, [text]), emitter)
    assert [e.data["delta"]["text"] for e in events if "delta" in e.data] == [text]


def test_an_unknown_template_still_has_a_family():
    assert detect_family("{{ messages }}").name == "generic"


SIDE_BY_SIDE = {
    "double quotes": """{"name": "Edit", "arguments": {"edits": ["a" "b"], 'all': True}}""",
    "single quotes": """{'name': 'Edit', 'arguments': {'edits': ['a' 'b']}}""",
    "over lines": """{'name': 'Edit', 'arguments': {'edits': ['a',\n 'b'\n 'c']}}""",
    "with a prefix": """{'name': 'Edit', 'arguments': {'edits': ['a' r'b']}}""",
    "three quotes": """{'name': 'Edit', 'arguments': {'edits': ['''a''' "b"]}}""",
    "an empty one": """{'name': 'Edit', 'arguments': {'edits': ['' 'b']}}""",
    "a comment between": """{'name': 'Edit', 'arguments': {'edits': ['a' # 'x'\n 'b']}}""",
    "two keys": """{'name': 'Edit', 'arguments': {'ed' 'its': ['a']}}""",
}
APART = {
    "quotes inside": ("""{'name': 'Edit', 'arguments': {'edits': ['a" "b']}}""", 'a" "b'),
    "escaped quotes": (r"""{'name': 'Edit', 'arguments': {'edits': ['a\' \'b']}}""", "a' 'b"),
    "a comment": ("""{'name': 'Edit', # "x" 'y'\n 'arguments': {'edits': ['a']}}""", "a"),
}


@pytest.mark.parametrize("body", SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
def test_strings_side_by_side_are_not_read_as_one(body: str):
    text = f"<tool_call>{body}</tool_call>"
    assert as_blocks(read(HERMES, [text])) == [("error", text)]


@pytest.mark.parametrize(("body", "value"), APART.values(), ids=APART)
def test_python_values_are_read_whatever_their_strings_hold(body: str, value: str):
    parts = read(HERMES, [f"<tool_call>{body}</tool_call>"])
    assert as_blocks(parts) == [("call", "Edit", {"edits": [value]})]


@pytest.mark.parametrize("key", ["arguments", "parameters", "input"])
def test_arguments_beside_the_function_are_its_arguments(key: str):
    call = {"type": "function", "function": {"name": "Bash"}, key: {"command": "ls"}}
    parts = read(HERMES, [f"<tool_call>{json.dumps(call)}</tool_call>"])
    assert as_blocks(parts) == [("call", "Bash", {"command": "ls"})]


def test_a_call_in_python_does_not_join_its_strings():
    text = """<|tool_call_start|>[Edit(edits=["a" "b"])]<|tool_call_end|>"""
    assert as_blocks(read(BY_NAME["generic"], [text])) == [("error", text)]


def test_a_header_that_the_prompt_opened_is_read_to_its_end(tools):
    text = ' to=functions.Read<|channel|>commentary json<|message|>{"file_path": "/a.txt"}<|call|>'
    assert as_blocks(read(BY_NAME["harmony"], [text])) == [
        ("call", "Read", {"file_path": "/a.txt"})
    ]
    assert as_blocks(read(BY_NAME["harmony"], list(text))) == as_blocks(
        read(BY_NAME["harmony"], [text])
    )
    assert as_blocks(read(BY_NAME["harmony"], ["to", " be"])) == [("text", "to be")]


@pytest.mark.parametrize(
    "said",
    [
        """call:Write{content:'x\\ny',file_path:"/a"}""",
        'call:Write{"content":"x\\ny","file_path":"/a"}',
        """call:Write{content:"x\ny",file_path:'/a'}""",
    ],
)
def test_a_line_break_in_a_string_of_json_or_python_is_one(said):
    parts = read(BY_NAME["gemma4"], list(f"<|tool_call>{said}<tool_call|>"))
    assert as_blocks(parts) == [("call", "Write", {"content": "x\ny", "file_path": "/a"})]


@pytest.mark.parametrize("family", ["deepseek-v3.2", "deepseek-v4", "minimax", "muse"])
def test_a_call_that_is_not_closed_before_the_next_is_an_error_and_no_value_of_either(family):
    one = write_call(BY_NAME[family], "Bash", {"command": "ls"})
    open_one = one[: one.rindex("</")]
    text = open_one + write_call(BY_NAME[family], "Read", {"file_path": "/a"})
    ((kind, said),) = as_blocks(read(BY_NAME[family], [text]))
    assert (kind, said) == ("error", text)


def test_markers_around_nothing_leave_the_call_after_them_bare():
    text = '<|python_start|><|python_end|>{"name": "Read", "parameters": {"file_path": "/a.txt"}}'
    for pieces in ([text], list(text)):
        assert as_blocks(read(BY_NAME["llama4"], pieces)) == [
            ("call", "Read", {"file_path": "/a.txt"})
        ]


NO_CALLS = [
    "[Bash()](api.md#get_time) returns the time.",
    "[Bash()]: https://x",
    "[Bash()][1]",
    "[Bash(command='ls')].pop()",
    "[Bash(command='ls')][0].run()",
    "[Bash()] == []",
    "[Bash()] < 5",
    "[Bash()]<br>",
    "[Bash()].",
    "[Bash(), Read(file_path='a')] is a list of calls in Python.",
    "[Bash()], then more.",
]


@pytest.mark.parametrize("name", ["llama", "llama4"])
@pytest.mark.parametrize("text", NO_CALLS)
def test_a_list_that_goes_on_in_its_line_is_text(name, text):
    for pieces in ([text], list(text)):
        assert as_blocks(read(BY_NAME[name], pieces)) == [("text", text)]


@pytest.mark.parametrize("name", ["llama", "llama4"])
@pytest.mark.parametrize("behind", ["", "  \n", "\r\n", "<|eot|>", " <|eot|>"])
def test_a_list_that_is_alone_in_its_line_is_calls(name, behind):
    text = f"[Bash(command='ls')]\n[Bash(command='pwd')]{behind}"
    calls = [("call", "Bash", {"command": "ls"}), ("call", "Bash", {"command": "pwd"})]
    for pieces in ([text], list(text)):
        assert as_blocks(read(BY_NAME[name], pieces)) == calls


@pytest.mark.parametrize("between", ["\n", " ", "  # first\n"])
@pytest.mark.parametrize("behind", ["", "  # done"])
def test_all_lists_before_the_closing_marker_are_calls(between, behind):
    lists = f"[Bash(command='ls')]{between}[Bash(command='pwd')]{behind}"
    text = f"<|tool_call_start|>{lists}<|tool_call_end|>Done."
    for pieces in ([text], list(text)):
        assert as_blocks(read(BY_NAME["lfm2"], pieces)) == [
            ("call", "Bash", {"command": "ls"}),
            ("call", "Bash", {"command": "pwd"}),
            ("text", "Done."),
        ]


def test_a_marker_without_meaning_in_a_sentence_takes_no_space_with_it():
    for text in (
        "The marker [END FINAL RESPONSE] ends it.",
        "The marker [END FINAL RESPONSE]ends it.",
    ):
        for pieces in ([text], list(text)):
            found = as_blocks(read(BY_NAME["apriel"], pieces))
            assert found == [("text", "The marker ends it.")]
    assert as_blocks(read(BY_NAME["apriel"], list("Hi. [END FINAL RESPONSE] \n"))) == [
        ("text", "Hi.")
    ]
