"""Calls as Python writes them: strings by Python's rules, literals only."""

from __future__ import annotations

import ast
import json
import random

import pytest

from plugway_toolcalls import CallFormat, CallReader
from plugway_toolcalls._python import NotPython, python_value, read_python

LFM2 = CallFormat("python", opening="<|tool_call_start|>", closing="<|tool_call_end|>")


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("f(a='it\\'s', b=\"x\\ny\")", {"a": "it's", "b": "x\ny"}),
        ("f(a='x\ny')", {"a": "x\ny"}),
        ("f(a='''x\n'y' ''')", {"a": "x\n'y' "}),
        ('f(a="""a\\\nb""")', {"a": "ab"}),
        ("f(a='a\\\nb')", {"a": "a\\\nb"}),
        (r"f(a='\d+\w', b=r'\n')", {"a": r"\d+\w", "b": r"\n"}),
        (r"f(a='\x41\u00e9\U0001f600\101')", {"a": "Aé😀A"}),
        (r"f(a='\ud83d\ude00')", {"a": "😀"}),
        ("f(a=true, b=False, c=null, d=None)", {"a": True, "b": False, "c": None, "d": None}),
        ("f(a=-1, b=+2.5, c=1e3, d=0x1F, e=1_000, f=.5, g=5.)",
         {"a": -1, "b": 2.5, "c": 1000.0, "d": 31, "e": 1000, "f": 0.5, "g": 5.0}),
        ("f(a=[1, (2, 3), {'k': []},],)", {"a": [1, [2, 3], {"k": []}]}),
        ("f(a=('x'), b=(5), c={'k': (1)}, d=(('y')))", {"a": "x", "b": 5, "c": {"k": 1}, "d": "y"}),
        ("f(a=(1,), b=(), c=((1, 2)), d=((1, 2),))",
         {"a": [1], "b": [], "c": [1, 2], "d": [[1, 2]]}),
        (r"f(a='\N{BULLET} \N{LATIN SMALL LETTER E WITH ACUTE}')", {"a": "• é"}),
        (f"f(a={'9' * 400})", {"a": int("9" * 400)}),
        ("f(a=00, b=0_0, c=010.5, d=1_0e1_0)", {"a": 0, "b": 0, "c": 10.5, "d": 10e10}),
        ('f({"a b": 1})', {"a b": 1}),
        ("f(**{'a': 1}, b=2)", {"a": 1, "b": 2}),
        ("print(default_api.f(a=1))  # done", {"a": 1}),
        ("f()", {}),
    ],
)  # fmt: skip
def test_arguments_are_read_as_python_means_them(text, arguments):
    assert list(read_python(text)) == [("f", arguments)]
    assert list(read_python(f"[{text.partition('  #')[0]}]")) == [("f", arguments)]


@pytest.mark.parametrize(
    "text",
    [
        "f(1)", "f(a)", "f(a=g())", "f(a=1, a=2)", "f(a='x' 'y')", "f(a=f'{x}')", "f(a='x)",
        "f(a={1: 2})", "f(a=1", "f", "[f(a=1)", "[f(a=1) g()]", "x = 1", "f(a='it's')", "f(a=1) + 2",
        "f(a=010)", "f(a=1__0)", "f(a=1_)", "f(a=0x)", "f(a=0b2)", "f(a=٣)", "f(a=1٣)", "f(a=.٣)",
        r"f(a='\N{NO SUCH SIGN}')", r"f(a='\N')", r"f(a='\x4')", r"f(a='\x٣٣')", "f(a=(,))",
        "f(a=(1 2))", f"f(a={'9' * 5000})", "[f()] g()", "f() [f()]",
        "f(a={'k': 1, 'k': 2})", "f(a=b'x')", r"f(a='\ud83d')", "f(a=" + "[" * 1000 + ")",
    ],
)  # fmt: skip
def test_what_is_not_a_call_with_literals_is_refused(text):
    with pytest.raises(NotPython):
        list(read_python(text))


def test_a_literal_that_python_reads_is_read_as_python_reads_it():
    maker = random.Random(5)
    pieces = ["'", '"', "\\", "\n", "a", "{", "[", ",", "é", "\\n", "'''", "#", ")", "]", "\t"]
    for _ in range(2000):
        value = ["".join(maker.choices(pieces, k=maker.randrange(9))) for _ in range(3)]
        assert python_value(repr(value)) == ast.literal_eval(repr(value)) == value
        assert python_value(json.dumps({"k": value})) == {"k": value}


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
def test_a_marker_in_a_string_ends_no_call_in_whatever_pieces_it_comes(step):
    text = '[f(a=\']<|tool_call_end|>\', b="""x\'<|tool_call_end|>""")]<|tool_call_end|>after'
    reader = CallReader([LFM2])
    ends = [reader.find(text[:at]) for at in range(step, len(text) + step, step)]
    assert {end for end in ends if end is not None} == {text.index("after")}


def test_a_call_of_a_megabyte_is_read():
    content = "line of 'text' with \\ and \"\n" * 40_000
    (call,) = read_python(f"[Write(content={json.dumps(content)})]")
    assert call == ("Write", {"content": content})


@pytest.mark.parametrize("end", ["<|tool_call_end|>", "  # done<|tool_call_end|>", "\n# a\n# b\n"])
def test_lists_in_a_row_and_comments_behind_them_belong_to_the_call(end):
    text = f"[f(a='x')]\n[g(b=1), f()] # more\n\n[f(a=']')]{end}"
    spoken = text.removesuffix("<|tool_call_end|>")
    calls = [("f", {"a": "x"}), ("g", {"b": 1}), ("f", {}), ("f", {"a": "]"})]
    assert list(read_python(spoken)) == calls
    if end.endswith(">"):
        reader = CallReader([LFM2])
        ends = [reader.find(f"{text}after"[:at]) for at in range(len(text) + 6)]
        assert {end for end in ends if end is not None} == {len(text)}
