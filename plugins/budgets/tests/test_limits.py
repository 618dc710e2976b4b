"""What an attempt may use, and what is booked for it. Pure functions."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import Reply, Usage
from plugway.exchange.relay import EventRelay
from plugway.testing import anthropic_stream
from plugway_budgets._limits import Demand, Limit, Subject, limits_for, subject_of
from plugway_budgets._usage import CUT, Used, cost_of, used_by
from plugway_prices import Price, Rates
from plugway_wire.events import StreamEvent

AT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
ANN = Subject("person", "ann")
rates = st.integers(0, 10**8)
prices = st.builds(lambda *found: Price(Rates(*found)), rates, rates, rates, rates, rates)
demands = st.builds(
    Demand,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    prices,
    st.booleans(),
    st.integers(1, 4),
)
left = st.lists(
    st.one_of(
        st.tuples(st.just("dollars"), st.integers(0, 10**12)),
        st.tuples(st.just("tokens"), st.integers(0, 10**7)),
        st.tuples(st.just("streams"), st.integers(0, 3)),
    ),
    max_size=3,
)


@given(demands, left, st.integers(1, 5000))
def test_a_lowered_demand_fits_and_could_not_be_longer(demand, left, least):
    lowered = demand.within(left, least)
    fits = lambda one: all(one.of(unit) <= amount for unit, amount in left)  # noqa: E731
    longer = lambda most: Demand(demand.prompt, most, demand.price, demand.long, demand.replies)  # noqa: E731
    if lowered is None:
        assert not fits(longer(min(least, demand.most)))
        return
    assert fits(lowered)
    assert lowered.most >= min(least, demand.most)
    assert lowered.most == demand.most or not fits(longer(lowered.most + 1))


def test_each_period_has_an_account_of_its_own_in_its_zone():
    limits = {
        ANN: [
            Limit(1, ANN, "tokens", 5, "day", "UTC"),
            Limit(2, ANN, "tokens", 5, "day", "Asia/Tokyo"),
            Limit(3, ANN, "dollars", 5, "month", "UTC"),
            Limit(4, ANN, "streams", 5),
        ]
    }
    found = limits_for([ANN], limits, AT)
    assert [one.start for one in found] == ["2026-11-30", "2026-12-01", "2026-11-01", ""]
    assert found[0].ends == datetime(2026, 12, 1, tzinfo=UTC)
    assert found[1].ends == datetime(2026, 12, 2, tzinfo=ZoneInfo("Asia/Tokyo"))


def test_a_request_is_booked_in_the_month_in_which_it_began():
    limit = Limit(1, ANN, "dollars", 5, "month", "UTC")
    before, after = limit.account(ANN, AT), limit.account(ANN, AT.replace(year=2027))
    assert (before.start, after.start) == ("2026-11-01", "2027-11-01")
    assert limit.account(ANN, AT) == before, "also when the clock went back"


@pytest.mark.parametrize(
    "text", ["ann", "person:", "person: x", "team:x", "person:a\nb", "", "key:\x00", "Person:x"]
)
def test_a_wrong_subject_is_named_with_a_fix(text):
    with pytest.raises(ValueError, match="use `person:NAME`"):
        subject_of(text)


# ── what is booked ───────────────────────────────────────────────────────────────────────────────

CHEAP = Price(Rates(1000, 10_000, 100, 1250, 2000))
ASKED = Demand(1000, 500, CHEAP)


def cost(used, demand=ASKED, seconds=1.0):
    return cost_of(demand, used, size=900, seconds=seconds, speed=100)


def test_a_complete_usage_is_booked_as_it_is():
    found = cost(Used(Usage(10, 20, 30, 40)))
    assert found == (Usage(10, 20, 30, 40), CHEAP.cost(Usage(10, 20, 30, 40)), True)


def test_tokens_kept_for_an_hour_are_booked_at_their_price():
    found = cost(Used(Usage(0, 0, 0, 100), written_1h=40))
    assert found.nano == (60 * 1250 + 40 * 2000) // 1000


def test_a_reply_that_ended_without_a_usage_is_booked_as_reserved():
    found = cost(Used(None))
    assert (found.usage, found.measured) == (Usage(1000, 500), False)
    assert found.nano == CHEAP.worst_case(1000, 500)


@given(st.floats(0, 100), st.integers(0, 600))
def test_a_cut_reply_is_booked_by_its_time_and_never_with_more_than_reserved(seconds, reported):
    used = Used(Usage(800, reported), counted=False, ended=False)
    found = cost(used, seconds=seconds)
    assert found.usage.input_tokens == 800
    assert found.usage.output_tokens <= max(500, reported)
    assert found.usage.output_tokens >= min(500, int(seconds * 100))


def test_a_reply_that_never_began_is_booked_by_its_size():
    found = cost(CUT, seconds=0.5)
    assert found.usage == Usage(301, 50)
    assert not found.measured


def test_an_absurd_usage_stays_a_number_that_fits():
    price = Price(Rates(*([10**12] * 5)))
    assert cost(Used(Usage(2**39)), Demand(1, 1, price)).nano == 2**53


@pytest.mark.parametrize("value", [-1, 2**50, "7", None, 1.5, True])
def test_counts_that_are_none_are_not_believed(value):
    usage = {"input_tokens": 5, "output_tokens": value}
    used = used_by(Reply.message({"usage": usage}))
    assert used is not None
    assert used.usage in (Usage(5, 0), Usage(5, 1))


@pytest.mark.anyio
async def test_a_stream_is_read_as_far_as_it_came():
    usage = {
        "input_tokens": 7,
        "output_tokens": 9,
        "cache_creation_input_tokens": 5,
        "cache_creation": {"ephemeral_1h_input_tokens": 3},
    }
    events = [StreamEvent(data["type"], data) for _, data in anthropic_stream("a", usage=usage)]

    async def some(count):
        for item in events[:count]:
            yield item

    for count, counted, ended in ((2, False, False), (5, True, False), (6, True, True)):
        relay = EventRelay(some(count))
        async for _ in relay:
            pass
        used = used_by(Reply.streamed(relay))
        assert used is not None
        assert (used.counted, used.ended, used.written_1h) == (counted, ended, 3)
        assert used.usage == Usage(7, 9 if counted else 1, 0, 5)
