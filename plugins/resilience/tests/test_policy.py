"""What a failure means, and whether the same target is asked again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    StreamInterrupted,
)
from plugway_resilience._breaker import BreakerRules
from plugway_resilience._health import Block, Health, Key, choose
from plugway_resilience._policy import (
    BLAMED,
    Budget,
    Kind,
    RepeatRules,
    kind_of,
    retry_after_of,
)

RULES = RepeatRules()


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (BackendUnavailable("refused"), Kind.UNREACHABLE),
        (BackendUnavailable("tls", status=502, permanent=True), Kind.PERMANENT),
        (BackendTimeout("silent"), Kind.SERVER),
        (BackendProtocolError("html"), Kind.SERVER),
        (StreamInterrupted("busy", status=529), Kind.SERVER),
        (StreamInterrupted("slow down", status=429), Kind.RATE_LIMIT),
        (BackendRefused(500, b""), Kind.SERVER),
        (BackendRefused(503, b""), Kind.SERVER),
        (BackendRefused(501, b""), Kind.MISSING),
        (BackendRefused(404, b""), Kind.MISSING),
        (BackendRefused(401, b""), Kind.CREDENTIAL),
        (BackendRefused(401, b"", permanent=True), Kind.CREDENTIAL),
        (BackendRefused(403, b""), Kind.CREDENTIAL),
        (BackendRefused(408, b""), Kind.CONFLICT),
        (BackendRefused(409, b""), Kind.CONFLICT),
        (BackendRefused(429, b""), Kind.RATE_LIMIT),
        (BackendRefused(400, b""), Kind.CALLER),
        (BackendRefused(413, b""), Kind.CALLER),
        (BackendRefused(422, b""), Kind.CALLER),
    ],
)
def test_every_failure_has_a_kind(failure, kind):
    assert kind_of(failure) is kind


@settings(deadline=None)
@given(st.integers(400, 499))
def test_no_4xx_is_ever_held_against_the_target(status):
    assert kind_of(BackendRefused(status, b"")) not in BLAMED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("0", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e9", None),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200),
        ("Thu, 01 Jan 1970 00:10:00 GMT", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(text, seconds):
    failure = BackendError("x", status=429, headers=(("retry-after", text),))
    assert retry_after_of(failure, 1000) == seconds


@settings(deadline=None)
@given(st.text(max_size=30))
def test_no_retry_after_breaks_it(text):
    failure = BackendError("x", status=429, headers=(("retry-after", text),))
    seconds = retry_after_of(failure, 1000)
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))


def delay(kind, *, made=0, last=True, local=False, retry_after=None, rules=RULES):
    return rules.delay(
        kind, made=made, last=last, local=local, retry_after=retry_after, chance=lambda: 0.5
    )


def test_a_remote_backend_that_cannot_be_reached_is_asked_twice_more_quickly():
    assert [delay(Kind.UNREACHABLE, made=n) for n in range(3)] == [0.1, 0.4, None]
    assert delay(Kind.UNREACHABLE, local=True) is None
    assert delay(Kind.UNREACHABLE, last=False) is None


def test_an_error_of_the_server_is_repeated_once_and_only_on_the_last_target():
    assert [delay(Kind.SERVER, made=n) for n in range(2)] == [0.375, None]
    assert delay(Kind.SERVER, local=True) == 0.375
    assert delay(Kind.SERVER, last=False) is None


def test_a_rate_limit_is_waited_for_only_where_it_is_short_and_known():
    assert delay(Kind.RATE_LIMIT, retry_after=2) == 2
    assert delay(Kind.RATE_LIMIT, retry_after=2.1) is None
    assert delay(Kind.RATE_LIMIT) is None
    assert delay(Kind.RATE_LIMIT, retry_after=1, last=False) is None


def test_a_conflict_is_repeated_once_wherever_it_is():
    assert [delay(Kind.CONFLICT, made=n, last=False) for n in range(2)] == [0.375, None]


@settings(deadline=None)
@given(
    st.sampled_from(Kind),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
)
def test_a_repeat_is_never_late_never_endless_and_never_for_what_cannot_heal(
    kind, made, last, local, retry_after
):
    found = delay(kind, made=made, last=last, local=local, retry_after=retry_after)
    if kind in {Kind.CREDENTIAL, Kind.MISSING, Kind.PERMANENT, Kind.CALLER} or made >= 2:
        assert found is None
    assert found is None or 0 <= found <= 2


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 300))
def test_repeats_are_a_fifth_of_the_work_but_three_are_always_allowed(waiting, repeating):
    budget = Budget(0.2, 3)
    budget.waiting, budget.repeating = waiting, repeating
    assert budget.allows() == (repeating < 3 or repeating < 0.2 * waiting)


# ── health ───────────────────────────────────────────────────────────────────────────────────


BLOCKS = st.none() | st.builds(Block, st.just(Kind.SERVER), st.floats(0, 100), st.just("it failed"))


@settings(deadline=None)
@given(st.lists(BLOCKS, max_size=8))
def test_what_is_well_is_asked_in_order_and_there_is_always_somebody_to_ask(blocks):
    chosen = choose(blocks)
    assert bool(chosen) == bool(blocks)
    assert chosen == sorted(chosen)
    well = [index for index, block in enumerate(blocks) if block is None]
    assert chosen == well or (not well and len(chosen) <= 1)
    if not well and blocks:
        assert blocks[chosen[0]].until == min(block.until for block in blocks)


def test_what_is_known_stays_bounded_whatever_clients_ask_for():
    health = Health(BreakerRules(), lambda: 0.5)
    for number in range(3000):
        health.breaker(f"a/{number}").failed(0, probe=False)
        health.block(f"a/{number}", Block(Kind.RATE_LIMIT, 1e9, "x"))
    assert len(health._breakers) == len(health._blocks) == 1000
    assert health.blocked(Key("a/2999", "a"), 0)
    assert not health.blocked(Key("a/1", "a"), 0)
