"""A request keeps the client's bytes until somebody changes it, and says what was changed."""

import json

import pytest

from plugway import REMOVE, InvalidRequest, MessagesRequest

RAW = b'{ "model":"m",  "max_tokens":5, "new_field":[1.50,  "\\u00e9"], "stream": true }'


def request(raw=RAW, headers=(("anthropic-beta", "a,b"), ("x-app", "cli"))):
    return MessagesRequest(raw, headers)


def test_an_unchanged_request_is_the_same_bytes():
    assert request().raw is RAW
    assert not request().changed


def test_reading_the_body_does_not_change_it():
    made = request()
    assert made.model == "m"
    assert made.stream
    assert made.raw is RAW


def test_replacing_one_field_keeps_the_bytes_of_the_others():
    made = request().replace(because="shorter", max_tokens=3)
    assert b'"new_field":[1.50,  "\\u00e9"]' in made.raw
    assert json.loads(made.raw)["max_tokens"] == 3
    assert made.body["max_tokens"] == 3
    assert made.changed


def test_removing_a_field_takes_it_out_of_bytes_and_body():
    made = request().replace(because="unknown there", new_field=REMOVE)
    assert "new_field" not in made.body
    assert "new_field" not in json.loads(made.raw)


def test_removing_what_is_not_there_is_no_change():
    made = request().replace(because="not there", thinking=REMOVE)
    assert not made.changed
    assert made.raw is RAW
    assert made.changes == ()


def test_changes_name_field_action_and_reason_in_order():
    made = request().replace(because="one", max_tokens=1).replace(because="two", top_k=4)
    assert [(c.field, c.action, c.because) for c in made.changes] == [
        ("max_tokens", "set", "one"),
        ("top_k", "add", "two"),
    ]


def test_the_original_is_left_as_it_was():
    first = request()
    first.replace(because="x", max_tokens=1)
    assert first.body["max_tokens"] == 5
    assert first.raw is RAW


def test_headers_are_set_added_and_removed_on_the_record():
    made = request().replace(
        because="pairs go together", headers={"Anthropic-Beta": REMOVE, "x-new": "1"}
    )
    assert made.headers == (("x-app", "cli"), ("x-new", "1"))
    assert [(c.field, c.action) for c in made.changes] == [
        ("header:anthropic-beta", "remove"),
        ("header:x-new", "add"),
    ]
    assert made.raw is RAW


def test_a_renamed_model_leaves_everything_else_to_the_byte():
    made = request(b'{"model":"a/b","x":  1}').replace(because="route", model="b")
    assert made.raw == b'{"model":"b","x":  1}'


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"x"', b"3", b"", b"{"])
def test_a_body_that_is_no_object_is_the_callers_fault(raw):
    with pytest.raises(InvalidRequest):
        _ = request(raw).body


def test_a_doubled_field_is_refused_when_the_body_has_to_be_written_anew():
    made = request(b'{"model":"a","x":1,"x":2}').replace(because="t", top_k=1)
    with pytest.raises(InvalidRequest, match="twice"):
        _ = made.raw


def test_a_body_as_most_clients_write_it_is_written_anew_in_the_same_order():
    raw = '{"model":"m","max_tokens":5,"stream":true,"system":"é \\" x","big":1.5}'.encode()
    made = (
        request(raw).replace(because="t", max_tokens=3, top_k=1).replace(because="u", stream=REMOVE)
    )
    assert (
        made.raw == '{"model":"m","max_tokens":3,"system":"é \\" x","big":1.5,"top_k":1}'.encode()
    )


def test_integers_beyond_64_bits_survive_a_change_elsewhere():
    raw = b'{"model":"m","max_tokens":5,"seed":123456789012345678901234567890}'
    assert b"123456789012345678901234567890" in request(raw).replace(because="t", max_tokens=1).raw
