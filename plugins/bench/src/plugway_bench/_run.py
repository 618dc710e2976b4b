"""A run: which requests are sent, in which order, and who gets them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ssl import SSLContext
from typing import Final, Literal

from plugway_bench._bodies import MAX_TOKENS, TURNS_PER_ROUND, Bodies, Question, Workload
from plugway_bench._exchange import Client, Measured, connected
from plugway_bench._machine import machine_facts, versions
from plugway_bench._result import Result
from plugway_bench._samples import Endpoint, Samples

Kind = Literal["warm-up", "measured", "cancel"]
MOST_AGAIN: Final = 20
"""Times that a question whose reply is short is sent again, only for the speed of its reply."""
_ENOUGH_STREAMED: Final = 0.3
"""Seconds of the replies to one question after which their speed is known."""
_LEAST_BYTES_PER_TOKEN: Final = 2.5
"""For the most that a run may cost."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a run; every endpoint gets it before the next one is sent."""

    kind: Kind
    question: Question


class Plan:
    """The requests of a run, the same for every endpoint."""

    def __init__(self, workloads: Sequence[Workload], rounds: int, seed: int) -> None:
        self.rounds = rounds
        self.seed = seed
        self.steps = tuple(_steps(workloads, rounds, Bodies(seed)))

    @property
    def tokens(self) -> int:
        """The nominal size of all prompts."""
        return sum(step.question.tokens for step in self.steps)

    def most_nano_dollars(self, endpoint: Endpoint) -> int | None:
        """The most that the run may cost there; None if no price is known."""
        price = endpoint.price
        if price is None:
            return None
        sizes = (len(step.question.encoded(endpoint.id)) for step in self.steps)
        return sum(
            price.worst_case(int(size / _LEAST_BYTES_PER_TOKEN), MAX_TOKENS) for size in sizes
        )


def _steps(workloads: Sequence[Workload], rounds: int, bodies: Bodies) -> Iterator[Step]:
    yield Step("warm-up", bodies.turn(0, "warm-up"))  # loads the model, and opens connections
    if "turns" in workloads:
        yield Step("warm-up", bodies.conversation(0))
    for number in range(1, rounds + 1):
        if "turn" in workloads:
            yield Step("measured", bodies.turn(number))
            yield Step("measured", bodies.turn(number, "warm"))
            yield Step("cancel", bodies.cancelled())
        if "turns" in workloads:
            first = (number - 1) * TURNS_PER_ROUND + 1
            for turn in range(first, first + TURNS_PER_ROUND):
                yield Step("measured", bodies.conversation(turn))
        if "tools" in workloads:
            yield Step("measured", bodies.heavy(number))


class Run:
    """Runs a plan, and keeps what was measured even if it is interrupted."""

    def __init__(
        self, plan: Plan, endpoints: Sequence[Endpoint], silent: Sequence[Endpoint] = ()
    ) -> None:
        """`silent`: backends that list no model; the result says so."""
        self.plan = plan
        self.samples = [Samples(endpoint) for endpoint in endpoints]
        self._silent = [Samples.of_silent(endpoint) for endpoint in silent]
        self.complete = False
        self._began = time.monotonic()
        self._started = datetime.now(UTC)
        self._machine = machine_facts()

    async def run(
        self,
        url: str,
        token: str,
        seconds: float,
        done: Callable[[Endpoint, Step], None],
        tls: SSLContext | None = None,
    ) -> None:
        """Send everything; `done` is called after each step of each endpoint."""
        async with connected(url, token, seconds, tls) as client:
            can_cancel = await client.has_plugin()
            for step in self.plan.steps:
                for samples in self.samples:
                    if samples.runs(step.question):
                        if step.kind != "cancel":
                            await self._ask(client, step, samples)
                        elif can_cancel:
                            await self._cancel(client, step, samples)
                    done(samples.endpoint, step)
        self.complete = True

    async def _ask(self, client: Client, step: Step, samples: Samples) -> None:
        found, counts = await _answer(client, step, samples), step.kind == "measured"
        samples.take(step.question, found, counts=counts)
        price = samples.endpoint.price
        if counts and step.question.workload == "turns" and price is not None and price.free:
            await _ask_again(client, step, samples, found.streaming)

    async def _cancel(self, client: Client, step: Step, samples: Samples) -> None:
        found, seconds = await client.cancel(step.question, samples.endpoint.id)
        samples.cancelled(found, seconds)

    def result(self) -> Result:
        """What was measured so far."""
        return Result(
            started=self._started.isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self._began, 1),
            seed=self.plan.seed,
            rounds=self.plan.rounds,
            complete=self.complete,
            machine=self._machine,
            versions=versions(),
            endpoints=tuple(samples.result() for samples in (*self.samples, *self._silent)),
        )


async def _answer(client: Client, step: Step, samples: Samples) -> Measured:
    endpoint = samples.endpoint
    found = await client.ask(step.question, endpoint.id)
    if not found.problem and found.served_by not in ("", endpoint.target):
        found.problem = f"`{found.served_by}` replied instead"
    return found


async def _ask_again(client: Client, step: Step, samples: Samples, streamed: float) -> None:
    """A reply of some milliseconds says little about the speed of a model, but several do."""
    for _ in range(MOST_AGAIN):
        if not 0 < streamed < _ENOUGH_STREAMED:
            return
        found = await _answer(client, step, samples)
        if not found.streaming:
            return
        samples.take_speed(found)
        streamed += found.streaming
