"""The text of an upstream's error is found in every shape that servers give it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import BackendRefused
from plugway.testing import ERRORS
from plugway_wire.reason import MAX_CHARACTERS, reason_in, reason_of


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"type": "error", "error": {"type": "x", "message": "long text"}}, "long text"),
        ({"error": {"message": "of OpenAI", "type": "y", "code": None}}, "of OpenAI"),
        ({"error": "a bare string"}, "a bare string"),
        ([{"error": {"code": 400, "message": "in a list"}}], "in a list"),
        ({"message": "of Bedrock"}, "of Bedrock"),
        ({"error": "Unauthorized", "message": "the key is missing"}, "the key is missing"),
        ({"detail": "of FastAPI"}, "of FastAPI"),
        ({"detail": [{"loc": ["a"], "msg": "one"}, {"msg": "two"}]}, "one; two"),
        ("a JSON string", "a JSON string"),
        ({"error": {"message": "", "detail": "second best"}}, "second best"),
        ({"odd": 1}, '{"odd": 1}'),
        (None, "null"),
    ],
)
def test_it_is_found_in_json(body, text):
    assert reason_in(json.dumps(body).encode()) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"plain text\n", "plain text"),
        (b"", ""),
        (b"  <!DOCTYPE html><h1>502</h1>", ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_text_stays_and_a_web_page_does_not(body, text):
    assert reason_in(body) == text


def test_it_is_never_endless():
    deep = {"error": "x"}
    for _ in range(500):
        deep = {"error": deep}
    assert reason_of(deep) == ""
    assert len(reason_in(b"x" * 100_000)) == MAX_CHARACTERS
    assert len(reason_of({"error": "x" * 100_000})) == MAX_CHARACTERS


JSON = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message"]), inner),
)


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_it_never_raises(body):
    assert isinstance(reason_in(body), str)


@pytest.mark.parametrize("name", [n for n, c in ERRORS.items() if c.status >= 400])
def test_the_errors_of_all_known_servers_are_told_in_their_own_words(name):
    canned = ERRORS[name]
    told = BackendRefused(canned.status, canned.body).message
    assert told
    assert "{" not in told
    assert "<" not in told


def test_a_refusal_without_text_is_told_by_its_status():
    assert BackendRefused(502, b"").message == "the upstream responded with status 502"
