"""Our signature of thinking blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_local_engine import Signature, parse_signature, signature

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner),
    max_leaves=5,
)


@given(st.text(), st.text(), JSON)
def test_what_is_signed_is_read_back(provider, model, state):
    text = signature(provider, model, state)
    assert text.startswith("plugway.1.")
    assert text.isascii()
    assert parse_signature(text) == Signature(provider, model, state)


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
