"""Our signature of thinking blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_signature import Signature, is_ours, parse_signature, session_hash, signature

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner),
    max_leaves=5,
)


@given(st.text(), st.text(), JSON, st.text())
def test_what_is_signed_is_read_back(provider, model, state, session):
    text = signature(provider, model, state, session)
    assert text.startswith("plugway.1.")
    assert text.isascii()
    assert is_ours(text)
    assert parse_signature(text) == Signature(provider, model, state, session)


def test_a_session_is_told_apart_and_not_told():
    assert session_hash("a-session") != session_hash("another")
    assert "a-session" not in session_hash("a-session")
    assert session_hash(None) == ""


def test_the_same_input_gives_the_same_signature():
    assert signature("local", "m", {"b": 1, "a": 2}) == signature("local", "m", {"a": 2, "b": 1})


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        5,
        "EqQBCkYIBxgCKkD",
        "plugway.1.",
        "plugway.1.!!!",
        "plugway.1.W10",
        "plugway.2.e30",
    ],
)
def test_what_is_not_ours_is_none(text):
    assert parse_signature(text) is None
