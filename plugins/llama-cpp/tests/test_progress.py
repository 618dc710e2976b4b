"""The gateway sees what its engine does for each request."""

import anyio
import pytest

from plugway import Attempt
from plugway_local_models import TellsProgress

pytestmark = pytest.mark.anyio


async def until(engine, number, good):
    """The progress of a request that was made, once `good` holds."""
    while True:
        if len(engine.exchanges) > number:
            attempt = Attempt(engine.backend, "default", exchange=engine.exchanges[number])
            found = engine.backend.progress_of(attempt)
            if found is not None and good(found):
                return found
        await anyio.sleep(0.01)


async def test_one_is_written_while_another_is_queued(engine, models):
    async with engine(models["full"], slots=1) as running, anyio.create_task_group() as group:
        assert isinstance(running.backend, TellsProgress)
        long = {"max_tokens": 3000, "messages": "Count."}
        group.start_soon(lambda: running.say(**long, session="a"))
        loading = await until(running, 0, lambda found: found.loading)
        assert loading.loading.startswith("full")
        written = await until(running, 0, lambda found: found.written)
        assert written.read == written.of > 0
        group.start_soon(lambda: running.say(**long, session="b"))
        assert (await until(running, 1, lambda found: found.ahead)).ahead == 1
        group.cancel_scope.cancel()
    for exchange in running.exchanges:
        assert running.backend.progress_of(Attempt(running.backend, "x", exchange=exchange)) is None
