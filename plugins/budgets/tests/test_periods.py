"""Days, weeks and months in time zones, where clocks change too."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_budgets._periods import PERIODS, first_moment, period_at, zone_of

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # skipped midnight until 2018
    "Africa/Cairo",  # skips midnight in April
    "Asia/Beirut",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Kiritimati",  # 14 hours ahead
    "Asia/Kathmandu",
    "America/Havana",
)
zones = st.sampled_from(ZONES).map(ZoneInfo)
times = st.datetimes(datetime(2012, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@given(st.sampled_from(PERIODS), times, zones)
def test_every_moment_is_in_exactly_one_period(name, at, zone):
    period = period_at(name, at, zone)
    assert first_moment(period.start, zone) <= at < period.ends
    following = period_at(name, period.ends, zone)
    assert following.start > period.start
    assert first_moment(following.start, zone) == period.ends
    assert period_at(name, period.ends - timedelta(microseconds=1), zone) == period


@given(st.sampled_from(PERIODS), times, zones, st.timedeltas(timedelta(0), timedelta(days=70)))
def test_later_is_never_in_an_earlier_period(name, at, zone, later):
    before, after = period_at(name, at, zone), period_at(name, at + later, zone)
    assert before.start <= after.start
    assert before.ends <= after.ends


@given(times, zones)
def test_weeks_begin_on_monday_and_months_on_the_first(at, zone):
    assert period_at("week", at, zone).start.weekday() == 0
    assert period_at("month", at, zone).start.day == 1


def test_a_day_on_which_clocks_change_has_23_or_25_hours():
    berlin = ZoneInfo("Europe/Berlin")
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    for day, hours in ((spring, 23), (autumn, 25)):
        start = first_moment(day, berlin)
        assert period_at("day", start, berlin).ends - start == timedelta(hours=hours)


def test_a_day_without_midnight_begins_when_clocks_skip_it():
    cairo = ZoneInfo("Africa/Cairo")
    start = first_moment(date(2026, 4, 24), cairo)
    assert start.astimezone(cairo).hour == 1
    assert period_at("day", start - timedelta(seconds=1), cairo).start == date(2026, 4, 23)


def test_the_month_of_a_request_depends_on_the_zone():
    at = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert period_at("month", at, ZoneInfo("UTC")).start == date(2026, 11, 1)
    assert period_at("month", at, ZoneInfo("Europe/Berlin")).start == date(2026, 12, 1)


@pytest.mark.parametrize("name", ["Berlin", "", "../../etc/passwd", "Europe/", "UTC\0", "CEST+2"])
def test_an_unknown_zone_is_named_with_a_fix(name):
    with pytest.raises(ValueError, match="use a name such as `Europe/Berlin`"):
        zone_of(name)
