"""The figures of a run against upstreams whose times, counts and calls are known."""

import json
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
from bench_measuring import (
    ALL,
    FIRST,
    PIECES,
    STEP,
    endpoint,
    measured,
    reply,
    served,
    timed,
    tokens_of,
    upstream,
)

from plugway.testing import Hold, anthropic_error, anthropic_stream, sse
from plugway_bench._bodies import Bodies
from plugway_bench._exchange import Measured
from plugway_prices import DOLLAR, FREE, Price, Rates

pytestmark = pytest.mark.anyio
DEAR = Price(Rates(*[number * 10**6 for number in (2, 10, 1, 2, 2)]))
"""Dollars per million tokens: 2, 10, 1, 2, 2."""
SLACK = 1.5
"""Seconds by which a busy machine may delay something."""


async def test_times_tokens_and_the_share_are_those_of_the_upstream():
    async with served(upstream(timed)) as g:
        (row,) = (await measured(g)).values()
    figures = row.figures
    for name in ("first_cold", "first_warm", "turns_first", "tools_first"):
        assert FIRST <= figures[name].low / 1000 < FIRST + SLACK, name
    fastest = 40 / ((PIECES - 1) * STEP)
    assert fastest / 4 < figures["turns_rate"].value <= fastest
    assert figures["turns_rate"].samples == 4
    assert (figures["first_cold"].samples, figures["tools_first"].samples) == (2, 2)
    assert 0 < figures["turn_share"].value < figures["first_cold"].value - FIRST * 1000 + 1
    assert {found.outcome for found in row.workloads.values()} == {"measured"}
    assert row.notes == ()


async def test_the_share_is_not_known_without_the_plugin():
    async with served(upstream(), plugin=False) as g:
        (row,) = (await measured(g, rounds=1, workloads=["turn"])).values()
    assert "first_cold" in row.figures
    assert not {"turn_share", "cancel"} & set(row.figures)


async def test_what_was_read_from_the_cache_is_a_share_of_the_prompt():
    async with served(upstream(lambda request: reply(request, cached=0.75))) as g:
        (row,) = (await measured(g, workloads=["turns"])).values()
    assert row.figures["prefix_reuse"].value == pytest.approx(75, abs=0.1)


async def test_the_cost_is_that_of_all_counted_tokens():
    up = upstream(lambda request: reply(request, cached=0.5))
    async with served(up) as g:
        (row,) = (await measured(g, endpoint(price=DEAR), workloads=["turns"])).values()
    expected = 0
    for request in up.requests:
        read = int(tokens_of(request) * 0.5)
        expected += 2 * (tokens_of(request) - read) + read + 10 * 41
    assert row.dollars == pytest.approx(expected / 10**6, abs=2 * len(up.requests) / DOLLAR)


async def test_an_unknown_price_is_an_unknown_cost():
    async with served(upstream()) as g:
        (row,) = (await measured(g, endpoint(price=None), rounds=1, workloads=["turn"])).values()
    assert row.dollars is None


async def test_calls_count_as_valid_if_their_tool_was_offered_and_its_schema_holds():
    good = ("Write", {"file_path": "a.txt", "content": "reviewed"})
    scripts = [
        (good,),
        (("Write", {"file_path": "a.txt"}),),
        (("Delete", {"file_path": "a.txt"}),),
        (good, ("Write", {"file_path": 1, "content": ""})),
        (),
        (good,),
    ]
    asked = iter([(), (), *scripts])  # two requests are the warm-up

    def answer(request):
        return reply(request, calls=next(asked))

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, endpoint(price=None), rounds=3, workloads=["turns"])).values()
    assert (row.calls_asked, row.calls_made, row.calls_valid) == (6, 5, 2)


async def test_a_window_that_is_too_small_is_a_result_with_real_counts():
    def answer(request):
        if len(request.body) > 150_000:
            message = "prompt is too long: 51234 tokens > 32768 maximum"
            return anthropic_error(400, "invalid_request_error", message)
        return reply(request)

    up = upstream(answer)
    async with served(up) as g:
        (row,) = (await measured(g, rounds=3)).values()
    found = row.workloads["tools"]
    assert (found.outcome, found.prompt_tokens, found.window) == ("context_overflow", 51234, 32768)
    assert row.workloads["turns"].outcome == "measured"
    assert sum(len(request.body) > 150_000 for request in up.requests) == 1
    assert row.notes == ()


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        ("(54007 tokens ±6% counted for `up0/m`)", "about 54,007 tokens > 13,125"),
        ("(54007 tokens counted for `up0/m`)", "54,007 tokens > 13,125"),
    ],
    ids=["estimate", "exact"],
)
async def test_a_count_that_is_an_estimate_is_not_reported_as_exact(counted, said):
    def answer(request):
        message = f"prompt is too long: 54007 tokens > 13125 maximum {counted}"
        return anthropic_error(400, "invalid_request_error", message)

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, rounds=1, workloads=["turns"])).values()
    assert row.workloads["turns"].reason == said


async def test_a_prompt_beyond_the_stated_window_that_is_accepted_is_said():
    async with served(upstream()) as g:
        stated = replace(endpoint(), window=32_768)
        (row,) = (await measured(g, stated, rounds=1, workloads=["turns", "tools"])).values()
    (note,) = row.notes
    assert "was accepted, beyond the stated window of 32,768 tokens" in note


async def test_a_conversation_that_outgrows_the_window_keeps_its_figures_and_says_so():
    asked = []

    def answer(request):
        asked.append(request)
        if len(asked) > 4:
            message = "prompt is too long: 21000 tokens > 20480 maximum"
            return anthropic_error(400, "invalid_request_error", message)
        return reply(request)

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, endpoint(price=None), rounds=3, workloads=["turns"])).values()
    assert row.figures["turns_rate"].samples == 2
    assert row.workloads["turns"].outcome == "context_overflow"


async def test_an_endpoint_that_only_limits_does_not_end_the_run_of_the_others():
    limits = upstream(lambda _: anthropic_error(429, "rate_limit_error", "Slow down"))
    async with served(limits, upstream()) as g:
        rows = await measured(g, endpoint(0), endpoint(1))
    assert rows["up0/m"].workloads["turn"].outcome == "failed"
    assert "Slow down" in rows["up0/m"].workloads["turn"].reason
    assert rows["up0/m"].figures == {}
    assert len(limits.requests) == 3, "a turn, a conversation, and the turn that fails again"
    assert {found.outcome for found in rows["up1/m"].workloads.values()} == {"measured"}


async def test_an_endpoint_that_hangs_is_left_after_one_time_limit():
    hangs = upstream(lambda _: [Hold()])
    async with served(hangs, upstream()) as g:
        rows = await measured(g, endpoint(0), endpoint(1), seconds=4, rounds=1)
    assert rows["up0/m"].workloads["turn"].reason == "no complete reply within 4 s"
    assert rows["up0/m"].workloads["tools"].outcome == "not_run"
    assert len(hangs.requests) == 1
    assert "turns_rate" in rows["up1/m"].figures


@pytest.mark.parametrize("output", [0, 10**9])
async def test_absurd_counts_are_said_and_used_for_nothing(output):
    def answer(request):
        return reply(request, output=output)

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, endpoint(price=DEAR), rounds=1)).values()
    assert "turns_rate" not in row.figures
    assert "first_cold" in row.figures
    assert row.dollars is None
    assert any(f"{output:,} tokens of reply" in note for note in row.notes)


async def test_a_prompt_that_was_counted_far_too_small_is_said():
    def answer(request):
        usage = {"input_tokens": 12, "output_tokens": 20}
        return sse(anthropic_stream("Hello there.", usage=usage, model="m"))

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, rounds=1, workloads=["tools"])).values()
    assert any("12 tokens of prompt in" in note for note in row.notes)
    assert row.workloads["tools"].prompt_tokens is None


async def test_a_server_that_counts_nothing_has_times_but_no_rates_and_no_cost():
    def answer(request):
        zero = {"input_tokens": 0, "output_tokens": 0}
        return sse(anthropic_stream("Hello there.", usage=zero, model="m"))

    async with served(upstream(answer)) as g:
        rows = await measured(g, endpoint(price=DEAR), rounds=1, workloads=["turns"])
    assert set(rows["up0/m"].figures) == {"turns_first"}
    assert rows["up0/m"].dollars is None


async def test_a_reply_longer_than_allowed_is_no_absurd_count():
    def answer(request):
        usage = {"input_tokens": tokens_of(request), "output_tokens": 300}
        return sse(anthropic_stream(["many words "] * 200, usage=usage, model="m"))

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, rounds=1, workloads=["tools"])).values()
    assert row.notes == ()


async def test_a_cancel_is_timed_until_the_upstream_is_left():
    def answer(request):
        if b"Count from 1 to 500" not in request.body:
            return reply(request)
        events = anthropic_stream(["one", "two"], model="m")
        return sse(events[:3], end=Hold())

    up = upstream(answer)
    async with served(up) as g:
        (row,) = (await measured(g, rounds=2, workloads=["turn"])).values()
    held = [request for request in up.requests if b"Count from 1 to 500" in request.body]
    assert [request.left.is_set() for request in held] == [True, True]
    assert row.figures["cancel"].samples == 2
    assert 0 <= row.figures["cancel"].value < SLACK * 1000


async def test_a_cancel_that_is_refused_is_said_at_once():
    def answer(request):
        if b"Count from 1 to 500" not in request.body:
            return reply(request)
        return anthropic_error(403, "permission_error", "Not this one")

    async with served(upstream(answer)) as g:
        (row,) = (await measured(g, rounds=1, workloads=["turn"])).values()
    assert row.notes == ("cancel: 403: `up0`: Not this one",)
    assert "cancel" not in row.figures


async def test_a_reply_that_is_complete_too_early_is_no_cancel():
    async with served(upstream()) as g:
        (row,) = (await measured(g, rounds=1, workloads=["turn"])).values()
    assert "cancel" in row.figures or any("was complete before" in note for note in row.notes)


async def test_every_endpoint_gets_the_same_bodies_in_turn():
    order = []

    def numbered(number):
        return upstream(lambda request: (order.append(number), reply(request))[1])

    ups = [numbered(0), numbered(1)]
    async with served(*ups) as g:
        await measured(g, endpoint(0, None), endpoint(1, None), rounds=1)
    assert order == [0, 1] * (len(order) // 2)
    bodies = [[{**request.json, "model": ""} for request in up.requests] for up in ups]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("price", [FREE, None], ids=["free", "unknown"])
async def test_a_short_reply_that_costs_nothing_is_measured_again(price):
    answer = partial(reply, step=0.0005)  # 20 pieces in about 10 ms
    up = upstream(answer)
    async with served(up) as g:
        (row,) = (await measured(g, endpoint(price=price), rounds=1, workloads=["turns"])).values()
    asked = [request.json for request in up.requests if request.path.endswith("/messages")]
    times = Counter(json.dumps(body, sort_keys=True) for body in asked)
    assert row.figures["turns_first"].samples == 2, "it counts once"
    assert (row.calls_asked, row.workloads["turns"].outcome) == (2, "measured")
    if price is None:
        assert set(times.values()) == {1}
        assert row.figures["turns_rate"].samples <= 2
        assert any("too little to compare runs by" in note for note in row.notes)
    else:
        assert 2 < max(times.values()) <= 21
        assert row.figures["turns_rate"].samples > 2


def test_a_rate_is_tokens_after_the_first_over_their_time():
    found = Measured(first=2.0, last=4.0, counts={"input_tokens": 5, "output_tokens": 101})
    assert found.tokens_per_second == pytest.approx(50)


@pytest.mark.parametrize(
    ("output", "last"), [(15, 4.0), (101, 2.001)], ids=["few tokens", "in one piece"]
)
def test_what_cannot_give_a_rate_gives_none(output, last):
    found = Measured(first=2.0, last=last, counts={"input_tokens": 5, "output_tokens": output})
    assert found.tokens_per_second is None


def test_bodies_have_their_size_and_depend_on_the_seed_only():
    sizes = {"turn": (2_000, 100), "turns": (20_000, 1_000), "tools": (50_000, 1_000)}
    for name, make in (
        ("turn", lambda b: b.turn(1)),
        ("turns", lambda b: b.conversation(0)),
        ("tools", lambda b: b.heavy(1)),
    ):
        nominal, off = sizes[name]
        assert make(Bodies(1)).tokens == pytest.approx(nominal, abs=off), name
        assert make(Bodies(1)) == make(Bodies(1))
        assert make(Bodies(1)) != make(Bodies(2))
    assert set(sizes) == set(ALL)


def test_a_conversation_continues_and_other_requests_share_no_beginning():
    bodies = Bodies(1)
    three, four = bodies.conversation(3), bodies.conversation(4)
    before = three.body["messages"][:-1]
    assert four.body["messages"][: len(before)] == before
    assert (three.session, three.body["tools"]) == (four.session, four.body["tools"])
    one, two = (bodies.turn(n).body["messages"][0]["content"][0]["text"] for n in (1, 2))
    assert one[:20] != two[:20]
    first, second = (bodies.heavy(n).body["system"][0]["text"] for n in (1, 2))
    assert first[:20] != second[:20]
