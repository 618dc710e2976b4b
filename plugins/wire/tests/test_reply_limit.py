"""A shorter reply keeps the thinking budget below it, as the Messages API requires."""

import pytest

from plugway_wire.reply_limit import reply_limit


@pytest.mark.parametrize(
    "thinking",
    [None, "on", {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 3999}],
)
def test_thinking_that_fits_stays_as_it_is(thinking):
    assert reply_limit(thinking, 4000) == {"max_tokens": 4000}


def test_thinking_that_does_not_fit_gets_half_of_the_reply():
    thinking = {"type": "enabled", "budget_tokens": 4000, "display": "omitted"}
    assert reply_limit(thinking, 4000) == {
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "omitted"},
    }


@pytest.mark.parametrize(("tokens", "kind"), [(2048, "enabled"), (2047, "disabled")])
def test_thinking_is_disabled_where_the_half_is_less_than_the_api_accepts(tokens, kind):
    thinking = {"type": "enabled", "budget_tokens": 9000}
    assert reply_limit(thinking, tokens)["thinking"]["type"] == kind
