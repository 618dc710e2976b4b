"""A grammar forbids no valid call: by the meaning of a schema, in every family."""

from __future__ import annotations

import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from plugway_local_engine import ToolChoice, build_constraint
from plugway_toolcalls import FAMILIES, Family, OutputParser, Tool, write_call
from plugway_toolcalls.testing import as_blocks

from .test_grammar import tokenizer

NAMES = ["path", "old_text", "n", "x-y", "flag", "é", "with space", "mode"]


class Maker:
    """Random schemas of tools, each with arguments that are valid."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.definitions: dict[str, Any] = {}

    def tool(self) -> tuple[dict[str, Any], dict[str, Any]]:
        schema, value = self._whole()
        if self.definitions:
            schema = {**schema, "$defs": self.definitions}
        return schema, self._shuffled(value)

    def _shuffled(self, value: Any) -> Any:
        """With the members of all objects in another order than the schema's."""
        if isinstance(value, list):
            return [self._shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        names = list(value)
        self.random.shuffle(names)
        return {name: self._shuffled(value[name]) for name in names}

    def _whole(self) -> tuple[dict[str, Any], dict[str, Any]]:
        schema, value = self._object(0)
        kinds = ["plain", "plain", "ref", "allOf", "parts", "anyOf", "oneOf", "free"]
        kind = self.random.choice(kinds)
        if kind == "free":
            free = [{"type": "object"}, {"type": "object", "additionalProperties": True}, {}]
            return self.random.choice(free), value
        if kind == "ref":
            self.definitions["whole"] = schema
            return {"$ref": "#/$defs/whole"}, value
        if kind == "allOf":
            return {"type": "object", "allOf": [schema]}, value
        if kind == "parts":
            return self._parts(schema, value)
        if kind in {"anyOf", "oneOf"}:
            other = {"properties": {"nobody": {"type": "null"}}, "required": ["nobody"]}
            branches = [schema, {"type": "object", **other}]
            self.random.shuffle(branches)
            return {"type": "object", kind: branches}, value
        return schema, value

    def _parts(self, schema: dict[str, Any], value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Members from several places, none of which speaks for all of them."""
        if schema.get("additionalProperties") is not True:
            schema.pop("additionalProperties", None)
            value = {name: item for name, item in value.items() if name != "further_one"}
        other, item = self._any(2)
        self.definitions["part"] = {"type": "object", "properties": {"other": other}}
        part = {"$ref": "#/$defs/part"}
        nested = {"allOf": [part, {"type": "object", "properties": {"inner": {"type": "integer"}}}]}
        parts = [part, {"type": "object", "properties": {"nested": nested}}]
        value = {**value, "other": item, "nested": {"other": item, "inner": 1}}
        if self.random.random() < 0.5:
            return {**schema, "allOf": parts}, value
        return {"type": "object", "allOf": [parts[0], schema, parts[1]]}, value

    def _object(self, depth: int) -> tuple[dict[str, Any], dict[str, Any]]:
        names = self.random.sample(NAMES, self.random.choice([0, 1, 2, 3, 3, 5, 6]))
        pairs = {name: self._any(depth + 1) for name in names}
        required = [name for name in names if self.random.random() < 0.4]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: pair[0] for name, pair in pairs.items()},
            "required": required,
        }
        value = {
            name: pair[1]
            for name, pair in pairs.items()
            if name in required or self.random.random() < 0.6
        }
        more = self.random.choice([None, False, True, {"type": "integer"}])
        if more is not None:
            schema["additionalProperties"] = more
        # What lists its members and says nothing about others is taken as closed.
        if more not in (None, False) and self.random.random() < 0.5:
            value["further_one"] = 7 if isinstance(more, dict) else self._free(depth)
        return schema, value

    def _any(self, depth: int) -> tuple[dict[str, Any], Any]:
        kinds = [self._text, self._number, self._flag, self._choice, self._mixed, self._nothing]
        if depth < 3:
            kinds += [self._list, self._tree, self._reference]
            if self.random.random() < 0.3:
                return self._object(depth + 1)
        return self.random.choice(kinds)(depth)

    def _text(self, depth: int) -> tuple[dict[str, Any], Any]:
        texts = ["", "a b", "x\ny", '"', "\\n", "é", "</parameter>", '<|"|>', "a}<tool_call|> b"]
        return {"type": "string"}, self.random.choice(texts)

    def _number(self, depth: int) -> tuple[dict[str, Any], Any]:
        kind = self.random.choice(["integer", "number"])
        values = [0, 5, -7, 9_007_199_254_740_993, -(2**63) // 8 * 7]
        if self.random.random() < 0.5:
            return {"type": kind, "minimum": -5}, self.random.choice([0, 5, 123])
        if depth == 1 and kind == "number":
            values += [0.5, 1e-07, 1.5e20, -2e-300, 10**30]
        return {"type": kind}, self.random.choice(values)

    def _flag(self, depth: int) -> tuple[dict[str, Any], Any]:
        return {"type": "boolean"}, self.random.random() < 0.5

    def _choice(self, depth: int) -> tuple[dict[str, Any], Any]:
        values = self.random.choice([["a", "b c"], [1, 2], ["a", 3, None], ["on"]])
        return {"enum": values}, self.random.choice(values)

    def _mixed(self, depth: int) -> tuple[dict[str, Any], Any]:
        one, other = self._text(depth), self._number(depth + 1)
        branches = [one[0], other[0], {"type": "null"}]
        values = [one[1], other[1], None]
        schemas: list[dict[str, Any]] = [
            {"anyOf": branches},
            {"oneOf": branches},
            {"type": ["string", "number", "null"]},
        ]
        return self.random.choice(schemas), self.random.choice(values)

    def _nothing(self, depth: int) -> tuple[dict[str, Any], Any]:
        return {"description": "anything"}, self._free(depth)

    def _list(self, depth: int) -> tuple[dict[str, Any], Any]:
        schema, value = self._any(depth + 1)
        return {"type": "array", "items": schema}, [value] * self.random.randrange(3)

    def _tree(self, depth: int) -> tuple[dict[str, Any], Any]:
        kids = {"type": "array", "items": {"$ref": "#/$defs/tree"}}
        properties = {"name": {"type": "string"}, "kids": kids}
        self.definitions["tree"] = {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
        }
        return {"$ref": "#/$defs/tree"}, {"name": "a", "kids": [{"kids": []}, {"name": "b"}]}

    def _reference(self, depth: int) -> tuple[dict[str, Any], Any]:
        schema, value = self._text(depth)
        self.definitions["text"] = schema
        return {"$ref": "#/$defs/text"}, value

    def _free(self, depth: int) -> Any:
        kinds: list[Any] = ["text", 5, True, None, [1, "a"], {"k": {"deep": []}}]
        if depth < 2:
            kinds += [1e-07, 10**30, [-2.5e40]]
        return self.random.choice(kinds)


def check(family: Family, count: int) -> None:
    for special in (True, False):
        made, _ = tokenizer(family.name, special)
        for seed in range(count):
            schema, arguments = Maker(seed).tool()
            Draft202012Validator(schema).validate(arguments)
            tool = Tool("T", "", schema)
            opening, closing = family.section
            text = opening + write_call(family, "T", arguments, schema) + closing
            constraint = build_constraint(family, [tool], ToolChoice("tool", "T"))
            mask = constraint.whole(made)
            assert mask is not None, (seed, constraint.problems, schema)
            assert mask.advance(text), (seed, schema, text)
            assert mask.accepting, (seed, schema, text)
            parser = OutputParser(family, [tool])
            found = as_blocks(parser.feed(text) + parser.finish())
            assert found == [("call", "T", arguments)], (seed, schema, text)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_valid_call_is_never_forbidden(family: Family):
    check(family, 10)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_thousands_of_valid_calls_are_never_forbidden(family: Family):
    check(family, 1500)


class Exact:
    """Random schemas that every format can express, each with arguments that are valid."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def object(self, depth: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
        pairs = {name: self._any(depth) for name in self.random.sample(NAMES[:5], 3)}
        required = [name for name in pairs if self.random.random() < 0.6]
        properties = {name: pair[0] for name, pair in pairs.items()}
        schema = {"type": "object", "properties": properties, "required": required}
        return schema, {name: pair[1] for name, pair in pairs.items()}

    def _any(self, depth: int) -> tuple[dict[str, Any], Any]:
        plain: list[tuple[dict[str, Any], Any]] = [
            ({"type": "integer", "minimum": 1, "maximum": 9}, 5),
            ({"type": "boolean"}, True),
            ({"enum": ["fast", "slow"]}, "fast"),
            ({"type": "array", "items": {"type": "integer"}}, [1, 2]),
        ]
        kind = self.random.randrange(5 if depth < 2 else 4)
        return self.object(depth + 1) if kind == 4 else plain[kind]

    def broken(self, schema: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """The arguments with one change that breaks the schema."""
        name = self.random.choice(list(value))
        inner, rest = schema["properties"][name], {k: v for k, v in value.items() if k != name}
        if inner.get("type") == "object" and self.random.random() < 0.6:
            return {**value, name: self.broken(inner, value[name])}
        if name in schema["required"] and self.random.random() < 0.3:
            return rest
        if self.random.random() < 0.2:
            return {**value, "unlisted": 1}
        wrong = [["x"], {"q": 1}, 99, "other", [1, True]]
        return {**value, name: self.random.choice([v for v in wrong if not _fits(v, inner)])}


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    return Draft202012Validator(schema).is_valid(value)


def check_refused(family: Family, count: int) -> None:
    for seed in range(count):
        maker = Exact(seed)
        schema, arguments = maker.object()
        assert takes(family, schema, arguments), (seed, schema)
        broken = maker.broken(schema, arguments)
        assert not takes(family, schema, broken), (seed, schema, broken)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_call_that_breaks_its_schema_is_refused(family: Family):
    check_refused(family, 6)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_hundreds_of_calls_that_break_their_schema_are_refused(family: Family):
    check_refused(family, 300)


OPEN = {
    "said": {"properties": {"a": {"type": "string"}}, "additionalProperties": True},
    "a schema": {
        "properties": {"a": {"type": "string"}},
        "additionalProperties": {"type": "string"},
    },
    "patterns": {"properties": {"a": {"type": "string"}}, "patternProperties": {"^f": {}}},
    "names": {"properties": {"a": {"type": "string"}}, "propertyNames": {"minLength": 1}},
    "a condition": {"properties": {"a": {"type": "string"}}, "if": {}, "then": {"required": ["a"]}},
    "no members": {"type": "object"},
    "said by a part": {
        "allOf": [
            {"properties": {"a": {}}},
            {"properties": {"b": {}}, "additionalProperties": True},
        ]
    },
    "a free branch": {"anyOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object"}]},
}
CLOSED = {
    "members": {"properties": {"a": {"type": "string"}}},
    "no members": {"properties": {}},
    "said": {"properties": {"a": {"type": "string"}}, "additionalProperties": False},
    "a reference": {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {}}}}},
    "parts": {"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
    "branches": {"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
    "branches that require": {
        "properties": {"a": {}, "b": {}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
}


def takes(family: Family, schema: dict[str, Any], arguments: dict[str, Any]) -> bool:
    made, _ = tokenizer(family.name, False)
    opening, closing = family.section
    text = opening + write_call(family, "T", arguments, schema) + closing
    constraint = build_constraint(family, [Tool("T", "", schema)], ToolChoice("tool", "T"))
    mask = constraint.whole(made)
    assert mask is not None
    assert not constraint.problems
    return mask.advance(text) and mask.accepting


@pytest.mark.parametrize("schema", OPEN.values(), ids=OPEN.keys())
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_further_argument_is_taken_where_the_schema_speaks_of_more(family: Family, schema):
    assert takes(family, schema, {"further": "y"})


@pytest.mark.parametrize("schema", CLOSED.values(), ids=CLOSED.keys())
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_lists_its_members_and_says_no_more_is_closed(family: Family, schema):
    known = {"a": "x"} if schema.get("properties", True) else {}
    assert takes(family, schema, known)
    assert not takes(family, schema, {**known, "further": "y"})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_name_that_is_required_and_not_listed_is_taken_within_values_too(family: Family):
    inner = {"properties": {"a": {"type": "string"}}, "required": ["a", "b"]}
    schema = {"properties": {"v": inner}, "required": ["v", "w"]}
    assert takes(family, schema, {"v": {"a": "x", "b": "y"}, "w": 1})
    assert not takes(family, schema, {"v": {"a": "x", "b": "y", "c": "z"}, "w": 1})


TREE = {
    "properties": {
        "name": {"type": "string"},
        "kids": {"type": "array", "items": {"$ref": "#"}},
    }
}
TWICE = {
    "properties": {
        "a": {"type": "object", "properties": {"x": {"type": "string"}}},
        "b": {"$ref": "#/properties/a"},
        "c": {"type": "array", "items": {"$ref": "#/properties/b"}},
    }
}
"""A schema that zod 3 writes: what is used twice refers to where it stood first."""


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (TREE, {"kids": [{"name": "y", "kids": [{"kids": []}]}]}),
        (TREE, {"name": "x"}),
        (TWICE, {"b": {"x": "1"}, "c": [{"x": "2"}]}),
        (TWICE, {"a": {}}),
    ],
)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_reference_to_the_whole_or_to_a_member_is_followed(family: Family, schema, arguments):
    assert takes(family, schema, arguments)
