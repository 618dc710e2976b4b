"""Checking arguments: right in what it says, safe whatever the schema is."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from plugway_toolcalls import check_arguments
from plugway_toolcalls._patterns import endless_loops, matches
from plugway_toolcalls._schema import SchemaTooLarge, prepare_schema

SCHEMA = {
    "type": "object",
    "properties": {
        "file_path": {"type": "string", "pattern": "^/"},
        "limit": {"type": "integer", "minimum": 1},
        "mode": {"enum": ["a", "b"]},
        "edits": {"type": "array", "items": {"$ref": "#/$defs/edit"}},
    },
    "required": ["file_path"],
    "additionalProperties": False,
    "$defs": {"edit": {"type": "object", "required": ["old"]}},
}


def test_valid_arguments_have_no_problems():
    assert check_arguments(SCHEMA, '{"file_path": "/a", "edits": [{"old": 1}]}') == []
    assert check_arguments(SCHEMA, {"file_path": "/a", "limit": 3, "mode": "b"}) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{}", "'file_path' is a required property"),
        ('{"file_path": 5}', "`file_path`: 5 is not of type 'string'"),
        ('{"file_path": "a"}', "`file_path`: does not match the pattern '^/'"),
        ('{"file_path": "/a", "limit": 0}', "`limit`: 0 is less than the minimum of 1"),
        ('{"file_path": "/a", "x": 0}', "'x' was unexpected"),
        ('{"file_path": "/a", "edits": [{}]}', "`edits[0]`: 'old' is a required property"),
        ("[]", "must be a JSON object"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_each_problem_is_said_in_words(arguments, words):
    assert words in check_arguments(SCHEMA, arguments)[0]


def test_long_values_are_not_repeated():
    problems = check_arguments(SCHEMA, {"file_path": "/a", "limit": "x" * 10_000})
    assert len(problems[0]) < 500


def nested(depth):
    schema: dict[str, object] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def fan_out():
    """Each definition asks for the next one twice: two to the power of sixty steps."""
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, "d60": {"type": "object"}}}


HOSTILE = {
    "a reference to itself": {"$ref": "#"},
    "references in a ring": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "a ring of choices": {"anyOf": [{"$ref": "#"}, {"type": "object"}]},
    "a remote reference": {"properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}},
    "a file reference": {"$ref": "file:///etc/passwd"},
    "a reference to nothing": {"$ref": "#/$defs/none"},
    "depth": nested(300),
    "fan-out": fan_out(),
    "size": {"properties": {f"p{n}": {"description": "x" * 100} for n in range(100_000)}},
    "many definitions": {
        "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(20_000)},
        "$ref": "#/$defs/d0",
    },
    "a catastrophic pattern": {"properties": {"a": {"pattern": "(a+)+$"}}},
    "a catastrophic key": {"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False},
    "an odd type": {"type": "bogus", "properties": {"a": {"type": ["x", 5]}}},
    "odd keywords": {"properties": 5, "required": "a", "items": 3, "anyOf": {}, "pattern": 7},
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_schema_is_dealt_with_at_once(schema):
    started = time.process_time()
    check_arguments(schema, {"a": "a" * 60 + "!"})
    for purpose in ("check", "grammar"):
        with suppress(SchemaTooLarge):
            prepare_schema(schema, purpose)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("pattern", "loops"),
    [
        ("^[a-z]+@[a-z]+$", 2),
        (r"^\d{4}-\d{2}$", 0),
        (r"[^/]+(?:\.[a-z]+)?", 2),
        ("[]a]+", 1),
        (r"(\d{2}:){2}", 0),
        ("(a+)+$", None),
        ("(a|a)*", None),
        ("(a|aa){20}", None),
        ("(a?){30}", None),
        ("a?" * 30 + "a" * 30, None),
        ("(?:(?:a*)b)*", None),
        (r"(a)\1", None),
        ("(", None),
        ("a" * 2000, None),
    ],
)
def test_patterns_are_judged_by_their_repetitions(pattern, loops):
    assert endless_loops(pattern) == loops


def test_no_pattern_takes_long():
    text = "a" * 5000 + "!"
    for pattern in ("(a+)+$", "a+a+a+$", ".*.*=.*", "^(a|aa)+$", "a?" * 30 + "a" * 30, "a+$"):
        started = time.process_time()
        matches(pattern, text)
        assert time.process_time() - started < 0.5


def test_a_pattern_is_searched_as_json_schema_says():
    assert matches("b", "abc") is True
    assert matches("^b", "abc") is False
