"""The circuit breaker: a deterministic machine under a clock that the test turns."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_resilience._breaker import Breaker, BreakerRules, _Window

RULES = BreakerRules()


def breaker(chance: float = 0.5, rules: BreakerRules = RULES) -> Breaker:
    return Breaker(rules, lambda: chance)


def opened(chance: float = 0.5) -> Breaker:
    found = breaker(chance)
    for _ in range(3):
        found.failed(0, probe=False)
    return found


def test_three_failures_in_a_row_open_it_and_not_one_less():
    found = breaker()
    assert not found.failed(0, probe=False)
    assert not found.failed(1, probe=False)
    assert found.ready(1)
    assert found.failed(2, probe=False)
    assert not found.ready(2)


def test_a_success_in_between_starts_the_row_anew():
    found = breaker(rules=BreakerRules(share=1))
    for now in range(5):
        found.failed(now, probe=False)
        found.failed(now, probe=False)
        found.succeeded(now)
    assert found.closed


def test_half_of_five_calls_within_the_window_opens_it():
    found = breaker()
    for failed in (True, False, True, False):
        found.failed(0, probe=False) if failed else found.succeeded(0)
    assert found.closed
    assert found.failed(1, probe=False)


def test_failures_that_are_older_than_the_window_do_not_count():
    found = breaker()
    for _ in range(2):
        found.failed(0, probe=False)
    for _ in range(3):
        found.succeeded(0)
    assert not found.failed(61, probe=False)


@pytest.mark.parametrize(("chance", "factor"), [(0, 0.8), (0.5, 1), (1, 1.2)])
def test_it_is_open_for_five_seconds_give_or_take_a_fifth(chance, factor):
    assert opened(chance).open_until == pytest.approx(5 * factor)


def test_each_failed_probe_doubles_the_time_up_to_the_cap():
    found, now, lengths = opened(), 0.0, []
    for _ in range(8):
        assert found.open_until is not None
        lengths.append(found.open_until - now)
        now = found.open_until
        assert found.begin(now)
        assert found.failed(now, probe=True)
    assert lengths == [5, 10, 20, 40, 80, 120, 120, 120]


def test_an_answer_to_the_probe_closes_it_and_forgets_the_doubling():
    found = opened()
    assert found.begin(5)
    found.answered()
    assert found.closed
    assert found.ready(5)
    for _ in range(3):
        found.failed(10, probe=False)
    assert found.open_until == 15


def test_only_one_probe_at_a_time():
    found = opened()
    assert found.begin(6)
    assert not found.ready(6)
    assert not found.begin(6)
    found.release()
    assert found.begin(6)


def test_calls_that_are_no_probe_change_nothing_while_it_is_open_unless_they_are_answered():
    found = opened()
    for _ in range(5):
        assert not found.failed(1, probe=False)
    assert found.open_until == 5
    found.answered()
    assert found.closed


STEPS = st.lists(
    st.tuples(st.sampled_from(("ask", "succeed", "fail", "leave")), st.floats(0, 40)), max_size=60
)


@settings(deadline=None)
@given(STEPS, st.floats(0, 1))
def test_whatever_happens_the_machine_keeps_its_promises(steps, chance):
    found = Breaker(RULES, lambda: chance)
    now, probing, failures_in_a_row = 0.0, False, 0
    for what, pause in steps:
        now += pause
        if what == "ask":
            ready = found.ready(now)
            was_open = not found.closed
            began = found.begin(now)
            assert began == (was_open and ready)
            assert not (began and probing)
            probing = probing or began
            continue
        before = found.open_until
        if what == "succeed":
            found.answered()
            found.succeeded(now)
            assert found.closed
            probing, failures_in_a_row = False, 0
        elif what == "fail":
            was_probe, probing = probing, False
            opened_now = found.failed(now, probe=was_probe)
            failures_in_a_row = 0 if opened_now else failures_in_a_row + (before is None)
            assert failures_in_a_row < RULES.failures
            if opened_now:
                assert found.open_until is not None
                assert 0.8 * 5 - 1e-6 <= found.open_until - now <= RULES.open_max_seconds + 1e-6
            else:
                assert found.open_until == before
        elif probing:
            found.release()
            probing = False
            assert found.open_until == before


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=80))
def test_the_window_counts_what_is_recent_and_nothing_old(calls):
    window, now, seen = _Window(60), 0.0, []
    for pause, failed in calls:
        now += pause
        window.add(now, failed=failed)
        seen.append((now, failed))
        count, failures = window.totals(now)
        certain = [f for at, f in seen if now - at <= 50 - 1e-6]
        possible = [f for at, f in seen if now - at <= 60]
        assert len(certain) <= count <= len(possible)
        assert sum(certain) <= failures <= sum(possible)
