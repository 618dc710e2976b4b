"""Schemas with unusual keywords, and arguments that they allow: no grammar forbids them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from plugway_local_engine import ToolChoice, build_constraint
from plugway_toolcalls import FAMILIES, Family, Tool
from tests.slow import share

from .test_grammar import tokenizer
from .test_valid_calls import takes


def of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


ODD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a schema that is true": (of(a=True), {"a": [1, {"b": None}]}),
    "a schema that is empty": (of(a={}), {"a": "x"}),
    "false for what is left out": (of(a={"type": "string"}, b=False), {"a": "x"}),
    "a constant object": (of(a={"const": {"x": [1, "y"]}}), {"a": {"x": [1, "y"]}}),
    "a constant text with marks": (of(a={"const": "</tool_call>"}), {"a": "</tool_call>"}),
    "choices of several types": (of(a={"enum": ["", None, 0, False, [1]]}), {"a": [1]}),
    "a choice with line breaks": (of(a={"enum": ["x\ny", '"', "\\"]}), {"a": "x\ny"}),
    "a choice that another begins": (of(a={"enum": ["on", "only"]}), {"a": "only"}),
    "a tuple": (
        of(a={"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}),
        {"a": [1, "x", True]},
    ),
    "a tuple of older drafts": (
        of(a={"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 2}),
        {"a": [1, "x"]},
    ),
    "unique items": (of(a={"type": "array", "uniqueItems": True}), {"a": [1, 2]}),
    "an item that must be there": (
        of(a={"type": "array", "contains": {"const": 5}}),
        {"a": ["x", 5]},
    ),
    "names with signs": (
        of(**{'a"b': {}, "c\\d": {}, "e\nf": {}, "😀": {}, "": {}, "g.h:i": {}}),
        {'a"b': 1, "c\\d": "x", "😀": None, "g.h:i": [0]},
    ),
    "patterns of names": (
        {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}},
        {"x-a": 1, "other": "y"},
    ),
    "a pattern": (of(a={"type": "string", "pattern": "^[a-z]+$"}), {"a": "abc"}),
    "a pattern that looks ahead": (of(a={"type": "string", "pattern": "^(?!x).*$"}), {"a": "y"}),
    "a pattern that is not one": (of(a={"type": "string", "pattern": "a{2}"}), {"a": "aa"}),
    "formats": (of(a={"type": "string", "format": "uri"}), {"a": "https://x.y/z?q=%3Cb%3E"}),
    "an unknown format": (of(a={"type": "string", "format": "file-path"}), {"a": "/a b.txt"}),
    "a condition": (
        {**of(a={}, b={}), "if": {"required": ["a"]}, "then": {"required": ["b"]}},
        {"a": 1, "b": 2},
    ),
    "what must not be": (of(a={"not": {"type": "integer"}}), {"a": "x"}),
    "dependent names": ({**of(a={}, b={}), "dependentRequired": {"a": ["b"]}}, {"b": 1}),
    "limits of floats": (
        of(a={"type": "number", "exclusiveMinimum": 0, "maximum": 1.5}),
        {"a": 0.25},
    ),
    "multiples": (of(a={"type": "integer", "multipleOf": 5}), {"a": 15}),
    "limits of lengths": (of(a={"type": "string", "minLength": 1, "maxLength": 3}), {"a": "é\n😀"}),
    "numbers of members": (
        {"type": "object", "minProperties": 1, "maxProperties": 2},
        {"a": 1, "b": 2},
    ),
    "no members": ({"type": "object", "maxProperties": 0}, {}),
    "nullable of OpenAPI": (of(a={"type": "string", "nullable": True}), {"a": "x"}),
    "comments and examples": (
        {**of(a={"type": "string", "examples": [1], "$comment": "x"}), "title": "T", "default": 5},
        {"a": "x"},
    ),
    "definitions with odd names": (
        {**of(a={"$ref": "#/$defs/a~1b%20c"}), "$defs": {"a/b c": {"type": "integer"}}},
        {"a": 5},
    ),
    "an anchor": (
        {**of(a={"$ref": "#here"}), "$defs": {"x": {"$anchor": "here", "type": "string"}}},
        {"a": "x"},
    ),
    "a reference beside keywords": (
        {**of(a={"$ref": "#/$defs/x", "maxLength": 5}), "$defs": {"x": {"type": "string"}}},
        {"a": "abc"},
    ),
    "a circle of references": (
        {
            **of(a={"$ref": "#/$defs/x"}),
            "$defs": {
                "x": of(y={"$ref": "#/$defs/z"}),
                "z": {"anyOf": [{"$ref": "#/$defs/x"}, {}]},
            },
        },
        {"a": {"y": {"y": 1}}},
    ),
    "branches that overlap": (
        of(a={"anyOf": [{"type": "object", "properties": {"x": {}}}, {"type": "object"}]}),
        {"a": {"z": 1}},
    ),
    "all types": (
        of(a={"type": ["string", "integer", "number", "boolean", "array", "object", "null"]}),
        {"a": {"b": [None]}},
    ),
    "an object or nothing": (
        of(a={"type": ["object", "null"], "properties": {"x": {"type": "integer"}, "y": {}}}),
        {"a": {"y": 1, "x": 2}},
    ),
    "a union with itself": (
        {
            **of(e={"$ref": "#/$defs/e"}),
            "$defs": {"e": {"anyOf": [{"type": "integer"}, of(l={"$ref": "#/$defs/e"}, o={})]}},
        },
        {"e": {"o": "+", "l": {"o": 1, "l": 3}}},
    ),
    "one of several objects": (
        of(a={"oneOf": [of(t={"const": "A"}), {**of(t={"const": "B"}, w={}), "required": ["w"]}]}),
        {"a": {"w": "q", "t": "B"}},
    ),
    "items in any order": (
        of(a={"type": "array", "items": of(p={}, q={}), "minItems": 1.0, "maxItems": 2}),
        {"a": [{"q": 1, "p": 2}, {"p": 3}]},
    ),
    "many members": (of(**{f"m{n}": {"type": "integer"} for n in range(60)}), {"m59": 1, "m0": 2}),
    "deep members": (
        of(a=of(b=of(c=of(d=of(e={"type": "string"}))))),
        {"a": {"b": {"c": {"d": {"e": "x"}}}}},
    ),
    "combined objects": (
        {
            **of(a={"allOf": [{"$ref": "#/$defs/e"}, of(r={}, s={}), {"required": ["q"]}]}),
            "$defs": {"e": {**of(p={}, q=of(t={"type": "integer"})), "allOf": [of(u={})]}},
        },
        {"a": {"s": 1, "q": {"t": 3}, "u": "x", "p": [], "r": None}},
    ),
    "combined objects that contain themselves": (
        {
            **of(a={"$ref": "#/$defs/t"}),
            "$defs": {"t": of(x={"allOf": [{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/t"}]}, y={})},
        },
        {"a": {"y": 1, "x": {"x": {}, "y": 2}}},
    ),
    "unevaluated members": (
        {"allOf": [of(a={"type": "string"})], "unevaluatedProperties": False},
        {"a": "x"},
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_schemas_forbid_no_valid_call(kind: str):
    schema, arguments = ODD[kind]
    Draft202012Validator(schema).validate(arguments)
    for family in share(FAMILIES, list(ODD).index(kind), 6):
        assert takes(family, schema, arguments), family.name


def tree(count: int) -> dict[str, Any]:
    """A schema whose members are all of its own kind, but for one."""
    node = of(n={"type": "integer"}, **{f"k{n}": {"$ref": "#/$defs/node"} for n in range(count)})
    return {**of(q={"$ref": "#/$defs/node"}), "$defs": {"node": node}}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_schema_that_contains_itself_often_is_written_once(family: Family):
    made, _ = tokenizer(family.name, False)
    started = time.process_time()
    constraint = build_constraint(family, [Tool("T", "", tree(12))], ToolChoice("tool", "T"))
    assert constraint.whole(made) is not None, constraint.problems
    assert time.process_time() - started < 5


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_is_reached_by_references_is_held_to_its_schema(family: Family):
    assert takes(family, tree(2), {"q": {"k0": {"k1": {"n": 5}}, "n": 1}})
    for wrong in (None, "x", {"n": "x"}, {"k0": {"k1": {"n": []}}}):
        assert not takes(family, tree(2), {"q": wrong}), wrong


PARTS = {
    "names by a pattern": {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}},
    "branches": {**of(a={}, b={}), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
}


@pytest.mark.parametrize("schema", PARTS.values(), ids=PARTS.keys())
def test_what_a_grammar_leaves_free_is_noted(schema: dict[str, Any]):
    constraint = build_constraint(FAMILIES[0], [Tool("T", "", schema)], ToolChoice("any"))
    assert any("of `T`" in note and "checked afterwards" in note for note in constraint.notes)
