"""Schemas of tools: what Gemini takes, and a note for everything that is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_capabilities import Facts
from plugway_gemini._schema import gemini_schema
from plugway_translation import Notes

TEXT = {"type": "string"}


def shaped(schema, **options):
    notes = Notes()
    return gemini_schema(schema, notes, **options), notes


def props(**properties):
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("given_", "made"),
    [
        (props(a=TEXT), props(a=TEXT)),
        ({**props(a=TEXT), "$schema": "x", "additionalProperties": False, "title": "T"}, {**props(a=TEXT), "title": "T"}),
        (props(a={"type": ["string", "null"]}), props(a={"type": "string", "nullable": True})),
        (props(a={"type": ["string", "integer"]}), props(a={"anyOf": [{"type": "string"}, {"type": "integer"}]})),
        (props(a={"anyOf": [TEXT, {"type": "null"}], "default": "x"}), props(a={"type": "string", "nullable": True, "default": "x"})),
        (props(a={"oneOf": [TEXT, {"type": "number"}], "description": "d"}), props(a={"anyOf": [{"type": "string", "description": "d"}, {"type": "number", "description": "d"}]})),
        (props(a={"const": "x"}), props(a={"type": "string", "enum": ["x"]})),
        (props(a={"type": "integer", "enum": [1, 2]}), props(a={"type": "integer", "description": "(enum: [1,2])"})),
        (props(a={"enum": [1, 2]}), props(a={"type": "integer", "description": "(enum: [1,2])"})),
        (props(a={"const": 1.5}), props(a={"type": "number", "description": "(enum: [1.5])"})),
        (props(a={"const": True}), props(a={"type": "boolean", "description": "(enum: [true])"})),
        (props(a={"enum": [1, None]}), props(a={"type": "integer", "nullable": True, "description": "(enum: [1,null])"})),
        (props(a={"enum": [1, "b"]}), props(a={"type": "string", "description": '(enum: [1,"b"])'})),
        (props(a={"type": "string", "enum": ["", "b"]}), props(a={"type": "string", "enum": ["b"], "description": '(enum: ["","b"])'})),
        (props(a={"type": "string", "enum": [""]}), props(a={"type": "string", "description": '(enum: [""])'})),
        (props(a={"type": ["string", "null"], "enum": ["b", None]}), props(a={"type": "string", "enum": ["b"], "nullable": True})),
        (props(a={"type": "string", "pattern": r"^\p{Lu}"}), props(a={"type": "string", "description": r"(pattern: ^\p{Lu})"})),
        ({"anyOf": [props(a=TEXT), props(b=TEXT)]}, props(a=TEXT, b=TEXT)),
        (props(a={"type": "string", "format": "uri"}), props(a={"type": "string", "description": "(format: uri)"})),
        (props(a={"type": "string", "format": "date-time"}), props(a={"type": "string", "format": "date-time"})),
        (props(a={"type": "array"}), props(a={"type": "array", "items": TEXT})),
        (props(a={"type": "array", "prefixItems": [TEXT, {"type": "number"}]}), props(a={"type": "array", "items": {"anyOf": [TEXT, {"type": "number"}]}})),
        (props(a={}), props(a={"type": "object"})),
        ({**props(a=TEXT), "required": ["a", "gone"]}, {**props(a=TEXT), "required": ["a"]}),
        ({**props(a={"$ref": "#/$defs/N"}), "$defs": {"N": {"type": "number"}}}, props(a={"type": "number"})),
        (props(a={"allOf": [props(b=TEXT), {**props(c=TEXT), "required": ["c"]}]}), props(a={"type": "object", "properties": {"b": TEXT, "c": TEXT}, "required": ["c"]})),
        (props(a={"type": "object", "properties": {}}), props(a={"type": "object"})),
        ({"type": "object", "properties": {}}, {}),
        ({}, {}),
        (None, {}),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_schema_becomes_one_that_gemini_takes(given_, made):
    assert shaped(given_)[0] == made


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({**props(a=TEXT), "$schema": "x"}, "$schema"),
        (props(a={"type": "object", "additionalProperties": False}), "additionalProperties"),
        (props(a={"type": "number", "exclusiveMinimum": 0}), "exclusiveMinimum"),
        (props(a={"type": "string", "format": "uri"}), "format uri"),
        (props(a={"type": "object", "propertyNames": TEXT}), "propertyNames"),
        (props(a={"type": "integer", "enum": [1]}), "enum"),
    ],
)
def test_what_is_cut_is_noted(schema, field):
    assert f"tools.input_schema.{field}" in shaped(schema)[1].fields()


def nested(levels):
    schema = {"type": "object", "properties": {"leaf": TEXT}}
    for _ in range(levels):
        schema = props(a=schema)
    return schema


def depth(schema):
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    inner += [schema["items"]] if "items" in schema else []
    here = schema.get("type") in {"object", "array"}
    return here + max(map(depth, inner), default=0)


@pytest.mark.parametrize(
    ("options", "most"), [({}, 11), ({"simple": True}, 4), ({"facts": Facts(schema_depth=5)}, 6)]
)
def test_nesting_is_cut_where_the_model_takes_no_more(options, most):
    made, notes = shaped(nested(30), **options)
    assert depth(made) == most
    assert "tools.input_schema.nesting" in notes.fields()


def test_a_schema_that_names_itself_ends():
    schema = {
        **props(node={"$ref": "#/$defs/N"}),
        "$defs": {"N": {**props(next={"$ref": "#/$defs/N"}), "description": "a node"}},
    }
    made, notes = shaped(schema)
    assert made["properties"]["node"]["properties"]["next"] == {"type": "object"}
    assert "tools.input_schema.$ref" in notes.fields()


def test_what_a_model_has_refused_is_left_out():
    schema = props(a={"type": "string", "pattern": "x", "minLength": 2})
    facts = Facts(rejected_keywords=frozenset({"pattern"}))
    made = props(a={"type": "string", "minLength": 2, "description": "(pattern: x)"})
    assert shaped(schema, facts=facts)[0] == made


def test_for_a_retry_it_is_said_in_fewer_words():
    schema = props(a={"type": "string", "pattern": "x", "description": "d", "default": "y"})
    assert shaped(schema, simple=True)[0] == props(a={"type": "string", "description": "d"})


KEYWORDS = {
    *("anyOf", "default", "description", "enum", "example", "format", "items", "maxItems", "maxLength"),
    *("maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum", "nullable"),
    *("pattern", "properties", "required", "title", "type"),
}  # fmt: skip

plain = st.sampled_from(["string", "number", "integer", "boolean", "object", "array", "null"])
schemas = st.recursive(
    st.fixed_dictionaries({}, optional={"type": plain | st.lists(plain), "const": st.just("x"), "format": st.just("uri"), "minLength": st.just(1)}) | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": plain,
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "required": st.lists(st.sampled_from("abcd")),
            "items": inner,
            "anyOf": st.lists(inner, max_size=3),
            "oneOf": st.lists(inner, max_size=3),
            "allOf": st.lists(inner, max_size=3),
            "prefixItems": st.lists(inner, max_size=2),
            "additionalProperties": inner,
            "not": inner,
            "$ref": st.sampled_from(["#/$defs/a", "#", "#/nowhere"]),
            "description": st.just("d"),
        },
    ),
    max_leaves=12,
)  # fmt: skip


def assert_fit(schema):
    assert schema.keys() <= KEYWORDS
    if "anyOf" in schema:
        assert schema.keys() == {"anyOf"}
        assert schema["anyOf"]
    else:
        assert isinstance(schema["type"], str)
        assert ("items" in schema) == (schema["type"] == "array")
        assert set(schema.get("required", ())) <= set(schema.get("properties", {}))
        assert "properties" not in schema or schema["type"] == "object"
        assert "enum" not in schema or schema["type"] == "string"
    for inner in (*schema.get("properties", {}).values(), *schema.get("anyOf", [])):
        assert_fit(inner)
    if "items" in schema:
        assert_fit(schema["items"])


@settings(max_examples=120, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), schemas, max_size=3), schemas)
def test_whatever_a_client_sends_fits(properties, definition):
    made, _ = shaped({**props(**properties), "$defs": {"a": definition}})
    if made:
        assert_fit(made)
    assert made == shaped({**props(**properties), "$defs": {"a": definition}})[0]


LINKS = {
    "bare": lambda ref: {"$ref": ref},
    "in a property": lambda ref: props(a={"$ref": ref}),
    "in all of": lambda ref: {"allOf": [{"$ref": ref}]},
    "in items": lambda ref: {"type": "array", "items": {"$ref": ref}},
}


@pytest.mark.parametrize("link", LINKS)
def test_a_chain_of_very_many_references_ends_with_a_note(link):
    defs = {f"d{n}": LINKS[link](f"#/$defs/d{n + 1}") for n in range(3000)} | {"d3000": TEXT}
    made, notes = shaped({**props(a={"$ref": "#/$defs/d0"}), "$defs": defs})
    assert made["type"] == "object"
    assert any("too large" in str(note) for note in notes)
