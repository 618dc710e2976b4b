"""The plugin around attempts that the test answers, under a clock that the test turns."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson
import pytest

from plugway import (
    Attempt,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    Exchange,
    MessagesRequest,
    Outcome,
    Reply,
)
from plugway_resilience import Resilience, ResilienceOptions

pytestmark = pytest.mark.anyio

REQUEST = MessagesRequest(b'{"model":"m","max_tokens":1,"messages":[]}')
GOOD = Reply.message({"type": "message"})


@dataclass
class Backend:
    name: str
    zone: str = "vendor"


@dataclass
class World:
    """A policy, its time, and what each target answers."""

    policy: Resilience = field(init=False)
    options: dict[str, Any] = field(default_factory=dict)
    now: float = 1000.0
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, float | None]] = field(default_factory=list)

    def __post_init__(self):
        options = ResilienceOptions(**{"repeat_max_seconds": 0.25, **self.options})
        self.policy = Resilience(
            options, name="resilience", clock=lambda: self.now, chance=lambda: 0.5
        )

    async def send(self, request, attempt):
        self.asked.append((attempt.target, attempt.first_event_seconds))
        answer = self.answers.get(attempt.backend.name, GOOD)
        if isinstance(answer, tuple):  # takes so long
            seconds, answer = answer
            self.now += min(seconds, attempt.first_event_seconds)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def exchange(self, *names: str, zone: str = "vendor") -> Exchange:
        """One exchange through `names`, as the kernel makes it. Raises the last failure."""
        exchange = Exchange(REQUEST)
        attempts = [Attempt(Backend(n, zone), "m", 1, 120.0) for n in names]
        attempts = await self.policy.plan_attempts(attempts, exchange) or attempts
        failure: Exception | None = None
        for number, attempt in enumerate(attempts, start=1):
            attempt = Attempt(attempt.backend, "m", number, 120.0, last=number == len(attempts))
            try:
                await self.policy.around_attempt(self.send, REQUEST, attempt, exchange)
                failure = None
                break
            except Exception as error:
                failure = error
        if failure:
            raise failure
        await self.policy.finished(exchange, Outcome("completed", 200, 0.1))
        return exchange

    def targets(self) -> list[str]:
        """Who was asked since the last time."""
        found = [target.removesuffix("/m") for target, _ in self.asked]
        self.asked.clear()
        return found


def refused(status, **fields):
    body = orjson.dumps({"type": "error", "error": {"type": "x", "message": "says"}, "extra": 1})
    return BackendRefused(status, body, native=True, **fields)


async def test_all_remote_attempts_share_one_time_until_the_first_content():
    world = World(answers={"a": (500, BackendTimeout("silent")), "b": (500, BackendTimeout("x"))})
    with pytest.raises(BackendTimeout, match="no time left"):
        await world.exchange("a", "b", "c")
    assert world.asked == [("a/m", 120), ("b/m", 30)]


async def test_time_that_a_local_target_took_is_not_taken_from_a_remote_one():
    world = World(answers={"a": (500, BackendTimeout("silent"))})
    await world.exchange("a", "b", zone="local")
    assert world.asked == [("a/m", 120), ("b/m", 120)]


async def test_a_refused_credential_is_left_alone_for_ten_minutes_with_all_its_models():
    world = World(answers={"a": refused(401)})
    await world.exchange("a", "b")
    world.now += 599
    await world.exchange("a", "b")
    assert world.targets() == ["a", "b", "b"]
    world.now += 2
    world.answers.clear()
    await world.exchange("a", "b")
    await world.exchange("a", "b")
    assert world.targets() == ["a", "a"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_credential_that_one_caller_brought_is_not_held_against_another(status):
    world = World(answers={"a": refused(status)})
    exchange = Exchange(REQUEST)
    object.__setattr__(exchange.caller, "credentials", ((b"x-api-key", b"mine"),))
    attempt = Attempt(Backend("a"), "m", 1, 120.0, last=False)
    with pytest.raises(BackendRefused):
        await world.policy.around_attempt(world.send, REQUEST, attempt, exchange)
    world.answers.clear()
    await world.exchange("a", "b")
    assert world.targets() == ["a", "a"]


async def test_a_probe_waits_only_ten_seconds_where_somebody_else_could_answer():
    world = World(answers={"a": BackendUnavailable("refused")})
    for _ in range(3):
        await world.exchange("a", "b")
    world.now += 6
    world.asked.clear()
    world.answers["a"] = (500, BackendTimeout("silent"))
    await world.exchange("a", "b")
    assert world.asked == [("a/m", 10), ("b/m", 120)]
    world.now += 20
    world.asked.clear()
    with pytest.raises(BackendTimeout):
        await world.exchange("a")
    assert world.asked[0] == ("a/m", 120)


async def test_while_one_request_probes_the_others_go_elsewhere():
    world = World(answers={"a": BackendUnavailable("refused")})
    for _ in range(3):
        await world.exchange("a", "b")
    world.now += 6
    world.asked.clear()
    waits = anyio.Event()

    async def slow(request, attempt):
        await waits.wait()
        return GOOD

    attempt = Attempt(Backend("a"), "m", 1, 120.0, last=False)
    async with anyio.create_task_group() as group:
        group.start_soon(world.policy.around_attempt, slow, REQUEST, attempt, Exchange(REQUEST))
        await anyio.wait_all_tasks_blocked()
        found = await world.exchange("a", "b")
        assert world.targets() == ["b"]
        assert "skipped `a/m`" in found.receipt[0].what
        with pytest.raises(BackendUnavailable, match="skipped"):
            await world.policy.around_attempt(world.send, REQUEST, attempt, Exchange(REQUEST))
        waits.set()
    world.answers.clear()
    await world.exchange("a", "b")
    assert world.targets() == ["a"]


async def test_a_probe_whose_client_leaves_makes_room_for_the_next():
    world = World(answers={"a": BackendUnavailable("refused")})
    for _ in range(3):
        await world.exchange("a", "b")
    world.now += 6
    world.answers["a"] = (0, anyio.get_cancelled_exc_class()())
    attempt = Attempt(Backend("a"), "m", 1, 120.0, last=False)
    with pytest.raises(anyio.get_cancelled_exc_class()):
        await world.policy.around_attempt(world.send, REQUEST, attempt, Exchange(REQUEST))
    world.asked.clear()
    world.answers.clear()
    await world.exchange("a", "b")
    assert world.targets() == ["a"]


async def test_where_all_are_unwell_the_one_that_comes_back_first_is_asked():
    world = World(answers={"a": refused(429, retry_after=100), "b": refused(429, retry_after=50)})
    with pytest.raises(BackendRefused):
        await world.exchange("a", "b")
    world.targets()
    with pytest.raises(BackendRefused):
        await world.exchange("a", "b")
    assert world.targets() == ["b"]


async def test_no_more_targets_are_planned_than_may_be_asked():
    world = World(options={"max_attempts": 2}, answers=dict.fromkeys("abc", refused(500)))
    with pytest.raises(BackendRefused):
        await world.exchange("a", "b", "c")
    assert world.targets() == ["a", "b"]


async def test_the_time_of_a_distant_reset_is_told_within_the_upstreams_own_body():
    failure = refused(429, headers=(("retry-after", "7200"), ("x-upstream", "1")))
    world = World(answers={"a": failure})
    with pytest.raises(BackendRefused):
        await world.exchange("a")
    body = orjson.loads(failure.body)
    assert body["error"]["message"].startswith("says (the limit ends in 2 h, at ")
    assert body["extra"] == 1
    assert dict(failure.headers) == {
        "retry-after": "7200",
        "x-upstream": "1",
        "x-should-retry": "false",
    }


async def test_the_wait_of_a_target_that_was_skipped_counts_too():
    world = World(answers={"a": refused(429, retry_after=30)})
    await world.exchange("a", "b")
    world.now += 10
    failure = world.answers["b"] = refused(429, retry_after=100)
    with pytest.raises(BackendRefused):
        await world.exchange("a", "b")
    assert dict(failure.headers) == {"retry-after": "20"}


async def test_a_server_that_says_that_asking_again_is_no_use_is_not_asked_again():
    stop = refused(500, headers=(("x-should-retry", "false"),))
    world = World(answers={"a": stop})
    with pytest.raises(BackendRefused):
        await world.exchange("a")
    assert world.targets() == ["a"]


async def test_a_body_that_is_no_json_is_told_in_our_envelope_instead():
    failure = BackendRefused(403, b"<html>", native=True)
    world = World(answers={"a": failure})
    with pytest.raises(BackendRefused):
        await world.exchange("a")
    assert not failure.native
    assert "is not allowed to do this" in failure.message


async def test_it_costs_next_to_nothing_when_nothing_fails():
    world = World()
    exchange = Exchange(REQUEST)
    attempts = [Attempt(Backend(n), "m", 1, 120.0) for n in "ab"]
    began = time.process_time()
    for _ in range(2000):
        await world.policy.plan_attempts(attempts, exchange)
        await world.policy.around_attempt(world.send, REQUEST, attempts[0], exchange)
        await world.policy.finished(exchange, Outcome("completed", 200, 0.1))
    assert (time.process_time() - began) / 2000 < 200e-6


async def test_who_is_skipped_and_for_how_long_is_told_without_the_credential():
    world = World(answers={"a": BackendUnavailable("refused"), "b": refused(401)})
    assert world.policy.health() == []
    await world.exchange("a", "b", "c")
    (told_b, told_a) = world.policy.health()
    assert (told_a.target, told_a.state, told_a.reason) == (
        "a/m",
        "failing",
        "its last call failed",
    )
    assert (told_b.target, told_b.state) == ("b", "skipped")
    assert told_b.reason == "its credential was refused (401)"
    assert told_b.seconds == 600
    for _ in range(3):
        await world.exchange("a", "c")
    told_a = next(one for one in world.policy.health() if one.target == "a/m")
    assert (told_a.state, told_a.reason) == ("skipped", "it failed too often")
    assert 0 < told_a.seconds <= 120
    world.now += 1000
    (told_a,) = world.policy.health()
    assert (told_a.state, told_a.seconds) == ("probing", 0)
    world.answers.clear()
    await world.exchange("a", "c")
    assert world.policy.health() == []
