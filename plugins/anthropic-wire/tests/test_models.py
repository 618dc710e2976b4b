"""Entries of model lists in the shapes of several servers."""

import pytest

from plugway_anthropic_wire import model_of


def test_an_entry_of_anthropic_tells_all():
    entry = {
        "type": "model",
        "id": "claude-x",
        "display_name": "Claude X",
        "created_at": "2026-01-01T00:00:00Z",
        "max_input_tokens": 1_000_000,
        "max_tokens": 64_000,
        "capabilities": {
            "image_input": {"supported": True},
            "thinking": {"supported": True},
            "structured_outputs": {"supported": False},
        },
    }
    info = model_of(entry)
    assert (info.id, info.display_name, info.created_at) == (
        "claude-x",
        "Claude X",
        "2026-01-01T00:00:00Z",
    )
    assert (info.context_tokens, info.max_output_tokens) == (1_000_000, 64_000)
    assert info.capabilities == {"images", "thinking"}
    assert info.extra["capabilities"] == entry["capabilities"]


@pytest.mark.parametrize(
    "member", ["max_input_tokens", "max_model_len", "context_length", "context_window"]
)
def test_the_window_has_many_names(member):
    assert model_of({"id": "m", member: 4096}).context_tokens == 4096


@pytest.mark.parametrize("value", [None, "4096", -1, 0, True, 1.5, [], {}])
def test_an_odd_window_is_unknown(value):
    assert model_of({"id": "m", "max_model_len": value}).context_tokens == 0


@pytest.mark.parametrize("entry", [{}, {"created": "x"}, {"created": 2**60}, {"created": -5}])
def test_an_odd_date_is_the_first_one(entry):
    assert model_of({"id": "m", **entry}).created_at == "1970-01-01T00:00:00Z"


def test_seconds_are_a_date():
    assert model_of({"id": "m", "created": 1767225600}).created_at == "2026-01-01T00:00:00Z"
