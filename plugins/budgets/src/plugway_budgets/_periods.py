"""Days, weeks and months in a time zone: when they begin and end. Pure functions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

PeriodName = Literal["day", "week", "month"]
PERIODS: Final[tuple[PeriodName, ...]] = get_args(PeriodName)


class Period(NamedTuple):
    """One day, week or month."""

    start: date
    """Its first day in the time zone; weeks begin on Monday. It identifies the period."""
    ends: datetime
    """When the next one begins."""


def zone_of(name: str) -> tzinfo:
    """The time zone. Raises `ValueError` with a fix if there is none of that name."""
    if name == "UTC":
        return UTC  # also where the system has no list of zones
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"unknown time zone {name!r}: use a name such as `Europe/Berlin`, or `UTC` "
            "(on Windows, `pip install tzdata` has the list)"
        ) from None


def period_at(name: PeriodName, at: datetime, zone: tzinfo) -> Period:
    """The period of `at`, an aware time."""
    today = at.astimezone(zone).date()
    if name == "day":
        start = today
        after = today + timedelta(days=1)
    elif name == "week":
        start = today - timedelta(days=today.weekday())
        after = start + timedelta(days=7)
    else:
        start = today.replace(day=1)
        after = (start + timedelta(days=32)).replace(day=1)
    return Period(start, first_moment(after, zone))


def first_moment(day: date, zone: tzinfo) -> datetime:
    """When a day begins: where clocks skip midnight, when they skip it."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
