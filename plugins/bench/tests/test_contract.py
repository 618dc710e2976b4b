import time

import pytest

from plugway.testing import FeatureContract, PlainBackend, build_plugin, gateway
from plugway_bench import Bench

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Bench


async def test_it_tells_when_the_backend_was_called_and_nothing_of_the_request():
    stack = [build_plugin(PlainBackend, "plain"), build_plugin(Bench, "bench")]
    before = time.monotonic()
    async with gateway(stack) as g:
        response = await g.post({"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": "hello"}
        ]})  # fmt: skip
        told = await g.client.get(f"/bench/exchanges/{response.headers['plugway-request-id']}")
        unknown = await g.client.get("/bench/exchanges/req_0")
        stranger = await g.client.get("/bench/exchanges/req_0", headers={"authorization": "no"})
    times = told.json()
    assert set(times) == {"attempts", "sent", "first", "ended", "outcome"}
    assert before <= times["sent"] <= times["first"] <= times["ended"] <= time.monotonic()
    assert (times["attempts"], times["outcome"]) == (1, "completed")
    assert unknown.json() == {}
    assert stranger.status_code == 401
