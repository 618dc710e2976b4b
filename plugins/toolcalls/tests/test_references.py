"""References in a schema: where they lead, those that never end, and schemas that refer to themselves."""

from __future__ import annotations

import time
from typing import Any

import pytest

from plugway_toolcalls import FAMILIES, OutputParser, SchemaTooLarge, Tool, resolve
from plugway_toolcalls._members import kinds_of, members_of
from plugway_toolcalls._references import MAX_REFERENCES, endless_references, resolved
from plugway_toolcalls.testing import as_blocks

QWEN = next(family for family in FAMILIES if family.name == "qwen-coder")
ROOT: dict[str, Any] = {
    "$defs": {"a/b c": {"type": "integer"}, "yes": True, "no": False, "text": "x"},
    "prefixItems": [{"type": "null"}, {"type": "string"}],
}


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("#", ROOT),
        ("#/$defs/a~1b%20c", {"type": "integer"}),
        ("#/prefixItems/1", {"type": "string"}),
        ("#/$defs/yes", True),
        ("#/$defs/no", None),
        ("#/$defs/text", None),
        ("#/$defs/missing", None),
        ("#/prefixItems/2", None),
        ("#/prefixItems/-1", None),
        ("#/prefixItems/²", None),
        (f"#/prefixItems/{'9' * 5000}", None),
    ],
)
def test_a_local_reference_leads_to_a_schema_or_nowhere(reference: str, target: Any):
    assert resolve(ROOT, reference) == target


def test_a_reference_that_no_finite_value_satisfies_is_found():
    loop = {"type": "object", "properties": {"n": {"$ref": "#/$defs/loop"}}, "required": ["n"]}
    tree = {"type": "object", "properties": {"n": {"$ref": "#/$defs/tree"}}}
    root = {"anyOf": [{"$ref": "#/$defs/loop"}], "$defs": {"loop": loop, "tree": tree}}
    assert endless_references(root) == {"#/$defs/loop"}


def test_a_schema_with_too_many_references_is_refused():
    root = {"anyOf": [{"$ref": f"#/$defs/{n}"} for n in range(MAX_REFERENCES + 1)]}
    with pytest.raises(SchemaTooLarge, match="different references"):
        endless_references(root)


def test_a_chain_of_references_ends_even_if_it_is_a_ring():
    root = {"$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"$ref": "#/$defs/x"}}}
    assert resolved({"$ref": "#/$defs/x", "title": "t"}, root)["title"] == "t"


def union(count: int) -> dict[str, Any]:
    """A union that contains itself many times."""
    leaf = {"type": "object", "properties": {"a": {"type": "string"}}}
    itself = [{"$ref": "#/$defs/union"}] * count
    return {"$ref": "#/$defs/union", "$defs": {"union": {"anyOf": [leaf, *itself]}}}


def test_a_union_that_contains_itself_is_read_once():
    schema = union(30)
    tool = Tool("T", "", {"type": "object", "properties": {"q": schema}, "$defs": schema["$defs"]})
    started = time.process_time()
    assert kinds_of(schema, schema) == {"object"}
    assert "a" in members_of(schema).known
    parser = OutputParser(QWEN, [tool])
    text = '<tool_call>\n<function=T>\n<parameter=q>\n{"a": "1"}\n</parameter>\n</function>\n'
    found = as_blocks([*parser.feed(text), *parser.finish()])
    assert found == [("call", "T", {"q": {"a": "1"}})]
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({"allOf": [{"$ref": "#/$defs/text"}], "default": "5"}, {"string"}),
        ({"allOf": [{}, {"type": ["string", "null"]}, {"type": "string"}]}, {"string"}),
        ({"allOf": [{"minLength": 1}]}, set()),
        ({"anyOf": [{"$ref": "#/$defs/ring"}, {"type": "null"}]}, set()),
        ({"anyOf": [{"$ref": "#/$defs/union"}, {"type": "null"}]}, {"null", "string"}),
        ({"anyOf": [{}, {"type": "null"}]}, set()),
        ({"$ref": "#/$defs/ring"}, set()),
    ],
)
def test_the_types_of_a_value_follow_from_references_and_branches(schema: Any, kinds: set[str]):
    ring = {"anyOf": [{"$ref": "#/$defs/ring"}]}
    defs: dict[str, Any] = {"text": {"type": "string"}, "ring": ring}
    defs["union"] = {"oneOf": [{"$ref": "#/$defs/text"}, {"$ref": "#/$defs/union"}]}
    assert kinds_of(schema, {"$defs": defs}) == kinds


def test_a_text_whose_type_is_in_a_part_stays_a_text():
    """Pydantic 1 writes a member of a class with a default so."""
    mode = {"allOf": [{"$ref": "#/definitions/Mode"}], "default": "5"}
    defs = {"Mode": {"type": "string", "enum": ["5", "true"]}}
    tool = Tool("T", "", {"type": "object", "properties": {"mode": mode}, "definitions": defs})
    parser = OutputParser(QWEN, [tool])
    text = (
        "<tool_call>\n<function=T>\n<parameter=mode>\ntrue\n</parameter>\n</function>\n</tool_call>"
    )
    found = as_blocks([*parser.feed(text), *parser.finish()])
    assert found == [("call", "T", {"mode": "true"})]


def nested(key: str, depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {key: [schema]}
    return schema


def chain(length: int) -> dict[str, Any]:
    defs = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{length}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [nested("anyOf", 3000), nested("oneOf", 3000), nested("allOf", 3000), chain(3000)],
    ids=["anyOf", "oneOf", "allOf", "references"],
)
def test_the_types_of_a_very_deep_schema_are_unknown(schema: dict[str, Any]):
    assert kinds_of(schema, schema) == set()


def test_the_types_of_a_schema_that_is_deep_are_known():
    assert kinds_of(nested("anyOf", 10), {}) == {"string"}
    assert kinds_of(chain(10), chain(10)) == {"integer"}
