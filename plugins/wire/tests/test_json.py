"""Edits of JSON bytes keep what they do not touch; parsing refuses what is not one document."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_wire import json as _json

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(st.text(min_size=1), json_values, max_size=6)


@given(objects, st.sampled_from([None, 1, (", ", " : ")]), st.booleans())
def test_every_top_level_member_is_found_where_it_stands(value, style, ascii_only):
    options = {"separators": style} if isinstance(style, tuple) else {"indent": style}
    raw = json.dumps(value, ensure_ascii=ascii_only, **options).encode("utf-8", "surrogatepass")
    spans = _json.member_spans(raw)
    assert set(spans) == set(value)
    for name, (start, end) in spans.items():
        assert json.loads(raw[start:end]) == value[name]


@given(objects, st.text(min_size=1), json_values.filter(lambda v: not _has_big_int(v)))
def test_an_edit_changes_one_member_and_keeps_the_bytes_of_the_others(value, name, new):
    raw = json.dumps(value).encode()
    before = {n: raw[a:b] for n, (a, b) in _json.member_spans(raw).items()}
    edited = _json.edit(raw, {name: new}, frozenset())
    after = {n: edited[a:b] for n, (a, b) in _json.member_spans(edited).items()}
    assert json.loads(after.pop(name)) == new
    before.pop(name, None)
    assert after == before


def _has_big_int(value):
    if isinstance(value, int):
        return abs(value) >= 2**63
    if isinstance(value, dict):
        return any(_has_big_int(v) for v in value.values())
    return isinstance(value, list) and any(_has_big_int(v) for v in value)


def test_integers_that_no_float_can_hold_survive_an_edit_of_another_field():
    raw = b'{"model":"a","seed":123456789012345678901234567890}'
    assert _json.edit(raw, {"model": "b"}, frozenset()).endswith(b"123456789012345678901234567890}")


def test_a_member_that_stands_twice_is_refused():
    with pytest.raises(_json.JsonError, match="'model' twice"):
        _json.member_spans(b'{"model":"a","model":"b"}')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":12,"a":1}',  # the second value is how the first begins
        b'{"a":1,"b":2,"a":[]}',
        b'{"a":1,"\\u0061":1}',
        b'{ "a" : {} , "a" : {} }\n',
        b'{"":1,"":1}',
        '{"é":1,"\\u00e9":1}'.encode(),
    ],
)
def test_whatever_stands_twice_is_found_however_it_is_written(raw):
    with pytest.raises(_json.JsonError, match="twice"):
        _json.check_once(raw, _json.members(raw))


@pytest.mark.parametrize(
    "raw",
    [b"{}", b" { } ", b'{"a":1}', b'{"a":{"a":1},"b":"a"}\n', b'{"\\u0061":1 , "A":1}', '{"é":1}'.encode()],
)  # fmt: skip
def test_what_stands_once_passes(raw):
    _json.check_once(raw, _json.members(raw))


def test_the_leading_model_is_replaced_without_a_scan():
    raw = b'{"model":"a","x":[1,  2]}'
    assert _json.replace_leading_model(raw, "a", "b/c") == b'{"model":"b/c","x":[1,  2]}'


@pytest.mark.parametrize(
    "raw", [b'{"x":1,"model":"a"}', b'{"model":"a","y":"a"}', b'{"model":"a","model":"a"}']
)
def test_the_quick_way_is_not_taken_where_the_model_may_stand_twice(raw):
    assert _json.replace_leading_model(raw, "a", "b") is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b'{"a":', "line 1, column"),
        (b"{} {}", "after document"),
        (b'{"a": NaN}', "line 1"),
        (b'{"a": 1e999}', "line 1"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"\xff\xfe{\x00}\x00", "byte order mark"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "line 1"),
        (b"[" * 2000, "depth"),
        (b'{"a":' * 255 + b"1" + b"}" * 255, "deep"),
    ],
)
def test_what_is_not_one_json_document_is_refused_with_its_place(raw, said):
    with pytest.raises(_json.JsonError, match=said):
        _json.parse(raw)


def test_a_wide_body_is_not_a_deep_one():
    assert len(_json.parse(b"[" + b"[]," * 5000 + b"[]]")) == 5001
