"""What is measured from the ends of exchanges."""

import pytest

from plugway import Outcome, Usage
from plugway_recommend import Speed, Speeds

NOW = 1_000_000.0


def ended(kind="completed", *, tokens=0, cached=0, out=0, first=None, seconds=1.0, status=200):
    return Outcome(kind, status, seconds, first, Usage(tokens, out, cached))


def learned(*outcomes, streamed=True):
    speeds = Speeds()
    for outcome in outcomes:
        speeds.learn("a/b", outcome, streamed=streamed, now=NOW)
    return speeds["a/b"]


def test_prefill_and_decode_are_told_apart():
    speed = learned(ended(tokens=8000, cached=50_000, out=100, first=4.0, seconds=9.0))
    assert speed.prefill == 2000
    assert speed.decode == 20
    assert speed.seconds(4000, 200) == pytest.approx(2 + 10)


def test_a_prompt_from_the_cache_measures_the_wait_and_no_speed():
    speed = learned(ended(tokens=10, cached=50_000, out=100, first=0.5, seconds=1.5))
    assert (speed.prefill, speed.first_seconds, speed.decode) == (0, 0.5, 100)
    assert speed.seconds(5, 100) == pytest.approx(1.5)


def test_the_mean_forgets():
    slow, fast = (ended(tokens=1000, out=100, first=f, seconds=f + 1) for f in (10.0, 1.0))
    speed = learned(slow, *[fast] * 40)
    assert 980 < speed.prefill < 1000


@pytest.mark.parametrize(
    "outcome",
    [
        ended(tokens=1000, out=1, first=1.0, seconds=1.01),  # too little to time
        ended(tokens=1000, out=100, first=None),
        ended("disconnected", tokens=1000, out=100, first=1.0, seconds=2.0),
        ended("rejected", status=400),
    ],
)
def test_what_says_nothing_about_speed_measures_none(outcome):
    assert learned(outcome).decode == 0


def test_an_answer_that_was_not_streamed_is_counted_and_not_timed():
    speed = learned(ended(tokens=1000, out=100, first=1.0, seconds=3.0), streamed=False)
    assert (speed.exchanges, speed.prefill, speed.decode) == (1, 0, 0)


def test_failures_in_a_row_count_until_one_goes_well_or_time_passes():
    failure = ended("failed", status=502)
    assert not learned(failure).failing(NOW)
    assert learned(failure, failure).failing(NOW + 10)
    assert not learned(failure, failure).failing(NOW + 400)
    assert not learned(failure, failure, ended()).failing(NOW)


def test_what_was_never_measured_has_no_expected_time():
    assert Speed().seconds(100, 100) is None


def test_targets_are_bounded():
    speeds = Speeds()
    for number in range(600):
        speeds.learn(f"a/{number}", ended(), streamed=True, now=NOW)
    assert len(speeds) == 500


def test_measurements_survive_as_json_and_unsound_ones_are_left_out():
    speeds = Speeds()
    speeds.learn("a/b", ended(tokens=800, out=100, first=1.0, seconds=2.0), streamed=True, now=NOW)
    again = Speeds()
    bad = {"x/1": 5, "x/2": {"prefill": "fast"}, "x/3": {"speed": 1}, "x/4": {"decode": -1}}
    again.take({**speeds.dump(), **bad, "x/5": {"prefill": float("inf")}})
    assert again["a/b"] == speeds["a/b"]
    assert len(again) == 1
