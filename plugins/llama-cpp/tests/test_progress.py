"""The gateway sees what its engine does for each request."""

import anyio
import pytest

from plugway import Attempt
from plugway_local_models import TellsProgress

pytestmark = pytest.mark.anyio


def known(engine):
    """What is known of each request so far."""
    attempts = [Attempt(engine.backend, "x", exchange=exchange) for exchange in engine.exchanges]
    return [found for a in attempts if (found := engine.backend.progress_of(a)) is not None]


async def until(engine, good):
    """The progress of the first request for which `good` holds."""
    while True:
        for found in known(engine):
            if good(found):
                return found
        await anyio.sleep(0.01)


async def test_requests_are_seen_loading_written_and_queued(engine, models):
    """There are so many that some still wait at the next heartbeat, however fast the machine is."""
    async with engine(models["full"], slots=1) as running, anyio.create_task_group() as group:
        assert isinstance(running.backend, TellsProgress)
        for number in range(40):
            group.start_soon(
                lambda n: running.say(f"Count from {n}.", session=str(n), max_tokens=3000), number
            )
        loading = await until(running, lambda found: found.loading)
        assert loading.loading.startswith("full")
        written = await until(running, lambda found: found.written)
        assert written.read == written.of > 0
        assert (await until(running, lambda found: found.ahead)).ahead in range(1, 40)
        group.cancel_scope.cancel()
    assert known(running) == []
