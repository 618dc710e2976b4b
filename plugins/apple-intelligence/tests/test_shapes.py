"""Schemas as shapes of Apple's guided generation, and snapshots as deltas."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugway_apple_intelligence._deltas import Deltas
from plugway_apple_intelligence._plan import plan_of
from plugway_apple_intelligence._shape import packed, schema_json, shape_of, whole
from plugway_translation import Notes


def shaped(schema):
    notes = Notes()
    return shape_of(schema, "Tool", notes, "tools.input_schema"), notes.lines()


def of(properties, **more):
    return {"type": "object", "properties": properties, **more}


def test_scalars_keep_their_choices_and_bounds():
    shape, notes = shaped(
        of(
            {
                "a": {"enum": ["x", "y"]},
                "b": {"type": "integer", "minimum": 1, "maximum": 9},
                "c": {"type": ["number", "null"]},
                "d": {"type": "boolean"},
                "e": {"const": "z"},
            },
            required=["a", "b", "c"],
        )
    )
    assert notes == []
    made = schema_json(shape)
    assert made["required"] == ["a", "b"]
    assert made["properties"]["a"] == {"type": "string", "enum": ["x", "y"]}
    assert made["properties"]["b"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert made["properties"]["e"]["enum"] == ["z"]
    assert (made["title"], made["x-order"]) == ("Tool", ["a", "b", "c", "d", "e"])


def test_references_and_unions_with_null_are_resolved():
    schema = of({"at": {"anyOf": [{"$ref": "#/$defs/At"}, {"type": "null"}]}}, required=["at"])
    shape, notes = shaped(
        {**schema, "$defs": {"At": of({"x": {"type": "number"}}, description="where")}}
    )
    (at,) = shape.fields
    assert (at.kind, at.optional, at.description, notes) == ("object", True, "where", [])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"anyOf": [{"type": "string"}, {"type": "number"}]},
        {"type": "array"},
        {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        {"type": "array", "items": {"type": "boolean"}},
        {"enum": [1, "x", None]},
        {},
    ],
)
def test_what_cannot_be_expressed_is_a_text_that_contains_json(schema):
    shape, notes = shaped(of({"free": schema}))
    assert shape.fields[0].packed
    assert schema_json(shape)["properties"]["free"]["type"] == "string"
    assert any("written as a text that contains JSON" in line for line in notes)
    assert whole(shape, {"free": '{"a": [1]}'}) == {"free": {"a": [1]}}
    assert whole(shape, {"free": "no JSON"}) == {"free": "no JSON"}


def test_a_schema_that_refers_to_itself_ends():
    node = of({"next": {"$ref": "#/$defs/Node"}})
    shape, _ = shaped({"$ref": "#/$defs/Node", "$defs": {"Node": node}})
    depth = 0
    while shape.kind == "object":
        (shape,), depth = shape.fields, depth + 1
    assert shape.packed
    assert depth <= 6


def test_a_reference_that_leads_nowhere_is_a_text():
    shape, _ = shaped(of({"x": {"$ref": "#/$defs/Gone"}, "y": {"$ref": "https://example.com"}}))
    assert all(field.packed for field in shape.fields)


@pytest.mark.parametrize(
    "bounds",
    [
        {"minimum": 5, "maximum": 1},
        {"minimum": -1e300, "maximum": 1e300},
        {"minimum": "1", "maximum": True},
    ],
)
def test_bounds_that_would_end_apples_process_are_dropped(bounds):
    shape, _ = shaped(of({"x": {"type": "integer", **bounds}}))
    assert (shape.fields[0].minimum, shape.fields[0].maximum) == (None, None)


def test_objects_of_the_same_field_have_different_types():
    inner = of({"b": of({"x": {"type": "string"}})})
    shape, _ = shaped(of({"a": inner, "a_b": of({"y": {"type": "string"}})}))
    titles = [
        shape.title,
        shape.fields[0].title,
        shape.fields[0].fields[0].title,
        shape.fields[1].title,
    ]
    assert len(set(titles)) == 4


def test_a_root_that_is_no_object_is_wrapped():
    shape, notes = shaped({"type": "array", "items": {"type": "string"}})
    assert shape.wraps
    assert whole(shape, {"value": ["a"]}) == ["a"]
    assert packed(shape, ["a"]) == {"value": ["a"]}
    assert "its root is not an object" in notes[0]


def test_lost_keywords_are_on_the_receipt():
    _, notes = shaped(of({"x": {"type": "string", "pattern": "^a", "maxLength": 3}}))
    assert {line.split(":")[0] for line in notes} == {
        "drop tools.input_schema.pattern",
        "drop tools.input_schema.maxLength",
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), VALUES.filter(lambda v: not isinstance(v, str))))
def test_arguments_in_the_history_come_back_as_they_were(value):
    shape, _ = shaped(of({"a": {"type": "object"}, "b": {}, "c": {"type": "array"}}))
    assert whole(shape, packed(shape, value)) == value


# ── requests ─────────────────────────────────────────────────────────────────────────────────


def test_what_apples_framework_has_no_field_for_is_on_the_receipt():
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
    }
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {"role": "assistant", "content": "I"},
    ]
    plan = plan_of(
        {"messages": turns, "max_tokens": 9, "top_k": 3, "thinking": {"type": "enabled"}}
    )
    lines = plan.notes.lines()
    assert "drop top_k: apple-fm-sdk 0.2.1 does not pass it on" in lines
    assert "drop thinking: Apple's model does not think" in lines
    assert any(line.startswith("drop image") for line in lines)
    assert any("the start of the reply" in line for line in lines)
    assert plan.prompt.startswith("look\n[image")


def test_equal_requests_have_equal_transcripts():
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    one, other = plan_of({"messages": turns}), plan_of({"messages": turns})
    assert one.history == other.history != ()


def test_a_system_turn_is_a_marked_user_turn():
    turns = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]
    plan = plan_of({"messages": [*turns, {"role": "user", "content": "c"}]})
    assert [e["role"] for e in plan.history] == ["user", "user"]
    assert "<system-reminder>" in plan.history[1]["contents"][0]["text"]


# ── deltas ───────────────────────────────────────────────────────────────────────────────────


@given(
    st.lists(st.text(alphabet="abX", max_size=5), max_size=8), st.sampled_from(["X", "ab", "aX"])
)
def test_deltas_add_up_to_the_text_before_the_stop_sequence(pieces, stop):
    deltas, text, sent = Deltas((stop,)), "", ""
    for piece in pieces:
        text += piece
        sent += deltas.feed(text)
    sent += deltas.feed(text, final=True)
    assert sent == text.partition(stop)[0]
    assert (deltas.stopped == stop) is (stop in text)


def test_a_snapshot_that_takes_text_back_adds_only_what_is_longer():
    deltas = Deltas()
    assert [deltas.feed(one) for one in ("Hello ", "Hello", "Hello, you")] == ["Hello ", "", " you"]
