"""The price list, lookups by day and choice, and exact costs."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from plugway import MessagesRequest, Usage
from plugway_prices import (
    FREE,
    Catalogue,
    Price,
    PriceOptions,
    Prices,
    PricesOptions,
    Rates,
    choices_of,
    dollars,
    missing_price,
    nano_dollars,
)
from plugway_prices._catalogue import vendors


class Place(NamedTuple):
    name: str
    zone: str


CLOUD = Place("cloud", "anthropic")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
MILLION = 10**6


def found(model, at=NOW, zone="anthropic", choices=()):
    return Catalogue().price_of(Place("cloud", zone), model, at, frozenset(choices))


def price(model, at=NOW, zone="anthropic", choices=()) -> Price:
    one = found(model, at, zone, choices)
    assert one is not None
    return one


def test_a_price_is_that_of_the_day_of_the_request():
    before = datetime(2026, 10, 6, 23, 59, tzinfo=UTC)
    read = Usage(cache_read_tokens=MILLION)
    assert price("claude-sonnet-5-5", before).cost(read) == nano_dollars("0.20")
    assert price("claude-sonnet-5-5").cost(read) == nano_dollars("0.10")


def test_a_promotion_that_ended_leaves_no_price_behind():
    assert found("gpt-5.6-sol", datetime(2026, 11, 21, tzinfo=UTC), "openai") is not None
    assert found("gpt-5.6-sol", datetime(2026, 11, 22, tzinfo=UTC), "openai") is None


def test_a_date_at_the_end_of_an_id_is_ignored_unless_it_is_listed_itself():
    assert price("claude-haiku-4-5-20251001") == price("claude-haiku-4-5")
    july = price("gpt-4o-2024-05-13", zone="openai")
    assert july != price("gpt-4o", zone="openai") == price("gpt-4o-2024-08-06", zone="openai")


@pytest.mark.parametrize(
    ("zone", "model"),
    [
        ("anthropic", "claude-opus-6"),
        ("anthropic", "claude-opus-5-5-fast"),
        ("openrouter.ai", "claude-opus-5-5"),
        ("bedrock", "claude-opus-5-5"),
        ("openai", "claude-opus-5-5"),
    ],
)
def test_a_price_that_is_not_known_is_not_guessed(zone, model):
    assert found(model, zone=zone) is None
    assert f"`cloud/{model}`" in missing_price(Place("cloud", zone), model)


def test_this_machine_costs_nothing():
    assert price("whatever", zone="local") is FREE
    assert FREE.worst_case(10**9, 10**9) == 0
    assert FREE.affordable(0, 10**9) is None


def test_a_long_prompt_changes_the_price_of_the_whole_request():
    haiku = price("claude-haiku-5-5")
    assert haiku.cost(Usage(100_000, MILLION)) == nano_dollars("0.51")
    assert haiku.cost(Usage(1, MILLION, 100_000)) == nano_dollars("2.5050005")


def test_hours_that_cost_more_are_those_of_working_days():
    at = [datetime(2026, 11, day, hour, tzinfo=UTC) for day, hour in ((30, 3), (30, 4), (29, 3))]
    costs = [price("deepseek-flash", t, "api.deepseek.com").cost(Usage(MILLION)) for t in at]
    assert costs == [nano_dollars("0.30"), nano_dollars("0.15"), nano_dollars("0.15")]


def test_what_a_request_chooses_multiplies_the_price_or_makes_it_unknown():
    usual, fast = price("claude-opus-5-5"), price("claude-opus-5-5", choices=["speed: fast"])
    assert fast.cost(Usage(1000, 1000)) == 2 * usual.cost(Usage(1000, 1000))
    both = price("claude-opus-5-5", choices=["speed: fast", "inference_geo: us"])
    assert both.cost(Usage(MILLION)) == nano_dollars("8.80")
    assert found("claude-opus-5-5", choices=["service_tier: gold"]) is None
    assert found("claude-haiku-4-5", choices=["speed: fast"]) is None


def test_choices_are_read_from_the_request():
    def chosen(**fields):
        return choices_of(MessagesRequest(orjson.dumps({"model": "m", **fields})))

    assert chosen() == chosen(speed="standard", service_tier="auto") == frozenset()
    assert chosen(speed="fast") == {"speed: fast"}
    assert chosen(speed=["fast"]) == {"speed: ['fast']"}
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert chosen(system=[{"type": "text", "text": "x", "cache_control": mark}]) == {"cache: long"}


@pytest.mark.parametrize("value", [b'"\\u0031h"', b'"1\\u0068"', b'"\\u0031\\u0068"'])
@pytest.mark.parametrize("size", [1, 10_000])
def test_how_a_client_writes_its_json_makes_no_cache_cheaper(value, size):
    text = b"x" * size
    raw = b'{"model": "m", "system": [{"text": "%b", "cache_control": {"ttl": %b}}]}'
    assert choices_of(MessagesRequest(raw % (text, value))) == {"cache: long"}


def test_your_own_prices_come_first_and_need_not_be_complete():
    own = PricesOptions.model_validate(
        {
            "models": {
                "cloud/claude-opus-*": {"input": 1.1, "output": 2},
                "cloud/*": [
                    {"input": 1, "output": 1},
                    {"input": 3, "output": 3, "since": "2027-01-01"},
                ],
                "late/*": {"input": 1, "output": 1, "since": "2027-01-01"},
            }
        }
    ).models
    catalogue = Catalogue(own)

    def cost(model, usage=Usage(MILLION), at=NOW):  # noqa: B008 (frozen)
        one = catalogue.price_of(CLOUD, model, at)
        return one and one.cost(usage)

    assert cost("claude-opus-5-5") == nano_dollars("1.1")
    assert cost("x") == nano_dollars(1)
    assert cost("x", at=NOW.replace(year=2027)) == nano_dollars(3)
    assert catalogue.price_of(Place("late", "local"), "x", NOW) is None
    assert cost("claude-opus-5-5", Usage(0, 0, MILLION, MILLION)) == nano_dollars("2.2")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"input": -1, "output": 1}, "greater than or equal to 0"),
        ({"input": "nan", "output": 1}, "finite"),
        ({"input": 1e12, "output": 1}, "less than or equal to 1000000"),
        ({"input": 1}, "output"),
        ({"input": 1, "output": 1, "cached": 0}, "cached"),
        ({"input": 1, "output": 1, "since": "soon"}, "date"),
        ({"input": 1, "output": 1, "since": "2026-02-02", "until": "2026-01-01"}, "is before"),
    ],
)
def test_a_wrong_price_is_an_error_in_the_configuration(value, says):
    with pytest.raises(ValidationError, match=says):
        PricesOptions.model_validate({"models": {"cloud/*": value}})


def test_a_price_of_a_backend_that_does_not_exist_is_reported():
    options = PricesOptions.model_validate(
        {"models": {name: {"input": 1, "output": 1} for name in ("cloud/x", "clod/x", "*/x", "*")}}
    )
    flaws = Prices(options).check({"cloud": "anthropic"})
    assert [place for place, _ in flaws] == [("models", "clod/x")]


def test_the_cost_for_advice_is_in_dollars():
    plugin = Prices(PricesOptions())
    plugin.check({"cloud": "anthropic"})
    assert plugin.cost("cloud/claude-opus-5-5", Usage(MILLION)) == 4.0
    assert plugin.cost("cloud/unknown", Usage(MILLION)) is None


def test_every_row_of_the_price_list_makes_sense():
    for vendor in vendors():
        assert vendor.source.startswith("https://")
        for row in vendor.models:
            cached = (row.cache_read, row.input, row.cache_write, row.cache_write_1h)
            known = [n for n in cached if n is not None]
            assert known == sorted(known), f"{vendor.vendor}: {row.model}"
            assert row.output > row.input > 0, f"{vendor.vendor}: {row.model}"
            for tier in row.tiers:
                assert tier.input > row.input, f"{vendor.vendor}: {row.model}"


def test_two_rows_of_a_model_never_begin_on_the_same_day():
    for vendor in vendors():
        seen = set()
        for row in vendor.models:
            for model in (row.model,) if isinstance(row.model, str) else row.model:
                assert (model, row.since) not in seen, f"{vendor.vendor}: {model}"
                seen.add((model, row.since))


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────

amounts = st.decimals(0, 1000, places=6)
tokens = st.integers(0, 10**7)
prices = st.builds(
    lambda values, long: Price(
        Rates.per_million(*values), ((200_000, Rates.per_million(*long)),) if long else ()
    ),
    st.tuples(amounts, amounts, amounts, amounts, amounts),
    st.none() | st.tuples(amounts, amounts, amounts, amounts, amounts),
)


@given(prices, tokens, tokens, tokens, tokens, st.booleans())
def test_a_cost_is_exact_but_for_the_last_nano_dollar(price, fresh, out, read, written, long):
    rates = price.rates_for(fresh + read + written)
    write = rates.cache_write_1h if long else rates.cache_write
    exact = Fraction(
        fresh * rates.input + out * rates.output + read * rates.cache_read + written * write, 1000
    )
    cost = price.cost(Usage(fresh, out, read, written), long=long)
    assert exact <= cost < exact + 1


@given(prices, tokens, tokens, st.integers(0, 100), st.booleans(), st.data())
def test_no_usage_within_the_limits_costs_more_than_the_worst_case(
    price, prompt, most, share, long, data
):
    read = prompt * share // 100
    written = data.draw(st.integers(0, prompt - read))
    usage = Usage(prompt - read - written, data.draw(st.integers(0, most)), read, written)
    assert price.cost(usage, long=long) <= price.worst_case(prompt, most, long=long)


@given(prices, st.integers(0, 10**13), tokens, st.booleans())
def test_what_is_affordable_can_be_paid_and_one_token_more_cannot(price, amount, prompt, long):
    most = price.affordable(amount, prompt, long=long)
    if most is None:
        assert price.worst_case(prompt, 10**12, long=long) <= amount
    elif most < 0:
        assert price.worst_case(prompt, 0, long=long) > amount
    else:
        assert price.worst_case(prompt, most, long=long) <= amount
        assert price.worst_case(prompt, most + 1, long=long) > amount


def test_tokens_known_to_be_kept_for_an_hour_are_counted_one_by_one():
    opus = price("claude-opus-5-5")
    usage = Usage(cache_creation_tokens=MILLION)
    assert opus.cost(usage, written_1h=400_000) == nano_dollars("6.20")
    assert opus.cost(usage, written_1h=2 * MILLION) == opus.cost(usage, long=True)


def test_prices_that_are_no_round_numbers_stay_exact():
    one = PriceOptions(input=Decimal("0.003625"), output=Decimal("0.0375"))
    own = Catalogue({"*": one}).price_of(CLOUD, "x", NOW)
    assert own
    assert own.cost(Usage(8 * MILLION)) == nano_dollars("0.029")
    assert own.cost(Usage(output_tokens=1)) == 38


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (10_000_000, "$0.01"),
        (1_234_567_891_000, "$1,234.57"),
        (1_000_000, "$0.001"),
        (37, "$0.000000037"),
        (98_660_000, "$0.0987"),
        (500_000_000, "$0.50"),
        (-500_000_000, "-$0.50"),
    ],
)
def test_amounts_are_readable(nano, text):
    assert dollars(nano) == text
