"""What one gateway learns holds in another with the same database, plugin by plugin.

`plugins/switch/tests/test_gateways.py` has the choices of conversations.
"""

from contextlib import asynccontextmanager
from itertools import count

import anyio
import pytest

from plugway.testing import ScriptedUpstream, anthropic_message, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_auto_mode import AutoMode
from plugway_echo import Echo
from plugway_recorder import Recorder
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_store import StorePlugin
from plugway_store import _topics as topics

pytestmark = pytest.mark.anyio
SESSION = {"x-claude-code-session-id": "5d6b0b04-0000-4000-8000-000000000000"}
TOOLS = [{"name": "Read", "input_schema": {"type": "object"}}]
_numbers = count()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(topics, "POLL_SECONDS", 0.05)


@pytest.fixture
def member(tmp_path, monkeypatch):
    """Starts a gateway with a folder of its own, and the database that all share."""

    @asynccontextmanager
    async def start(*plugins):
        number = next(_numbers)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / str(number)))
        store = build_plugin(StorePlugin, "store", url=str(tmp_path / "store.db"))
        built = [build_plugin(kind, name, **options) for kind, name, options in plugins]
        async with gateway([store, *built], port=9000 + number) as found:
            yield found

    return start


async def shared(*gateways):
    """Wait until each has written what it learnt, and then read what the others wrote."""
    for _ in range(2):
        for one in gateways:
            (store,) = [p for p in one.app.snapshot.plugins if isinstance(p, StorePlugin)]
            for _ in range(2):
                await store._topics.next_round()


async def send(running, text="hello", *, model="anything", headers=SESSION, **fields):
    messages = [{"role": "user", "content": text}]
    body = {"model": model, "max_tokens": 100, "messages": messages, **fields}
    return await running.client.post("/v1/messages", json=body, headers=headers)


def served_by(response):
    receipt = response.headers.get("plugway-receipt", "")
    return receipt.partition(";")[0].removeprefix("served-by=")


async def test_a_rate_limit_that_one_gateway_reached_spares_the_others(member):
    busy = respond(429, {"type": "error"}, {"retry-after": "60"})
    async with (
        ScriptedUpstream(otherwise=busy) as first,
        ScriptedUpstream(otherwise=respond(200, anthropic_message("ok"))) as second,
    ):
        stack = (
            (Resilience, "resilience", {}),
            (Router, "router", {"models": {"*": ["first/m", "second/m"]}}),
            (AnthropicCompatible, "first", {"base_url": first.url}),
            (AnthropicCompatible, "second", {"base_url": second.url}),
        )
        async with member(*stack) as one, member(*stack) as two:
            assert served_by(await send(one)) == "second/m"
            await shared(one, two)
            assert served_by(await send(two)) == "second/m"
            assert len(first.requests) == 1
            (skipped,) = two.app.snapshot.gateway.find(Resilience)[0][1].health()
    assert (skipped.target, skipped.reason) == ("first/m", "its rate limit is exhausted")
    assert 0 < skipped.seconds <= 60


async def test_a_side_request_through_another_gateway_stays_with_its_conversation(member):
    stack = (
        (Router, "router", {"models": {"main": "home/m", "*": "vendor/m"}}),
        (Echo, "home", {"models": ["m"]}),
    )
    async with ScriptedUpstream(otherwise=respond(200, anthropic_message("ok"))) as upstream:
        vendor = (AnthropicCompatible, "vendor", {"base_url": upstream.url, "zone": "vendor"})
        async with member(*stack, vendor) as one, member(*stack, vendor) as two:
            assert served_by(await send(one, model="main", tools=TOOLS)) == "home/m"
            await shared(one, two)
            assert served_by(await send(two, "Write a title.")) == "home/m"
        assert not upstream.requests


async def test_the_clients_own_check_through_another_gateway_goes_where_its_conversation_goes(
    member,
):
    check = {"system": "Reply with <severity>N</severity>", "max_tokens": 64}
    stack = (
        (AutoMode, "auto-mode", {}),
        (Echo, "home", {"models": ["m"]}),
        (Echo, "other", {"models": ["m"]}),
    )
    async with member(*stack) as one, member(*stack) as two:
        assert (await send(two, model="other/m", **check)).status_code == 403
        await send(one, model="home/m", tools=TOOLS)
        await shared(one, two)
        assert served_by(await send(two, model="other/m", **check)) == "home/m"


async def test_a_recording_ends_when_its_person_stops_it_through_another_gateway(member):
    stack = (
        (Recorder, "recorder", {"key": "a-key-for-recordings-0123456789"}),
        (Echo, "home", {"models": ["m"]}),
    )
    async with member(*stack) as one, member(*stack) as two:
        await send(one, "@plugway record", model="home/m")
        await shared(one)  # a stop within this moment would be older than the start
        assert "by=recorder" in (await send(one, model="home/m")).headers["plugway-receipt"]
        await send(two, "@plugway record off", model="home/m")
        await shared(two, one)
        with anyio.fail_after(10):
            while True:
                found = (await one.client.get("/recordings")).json()["recordings"]
                if not found[0]["on"]:
                    break
                await shared(one)
        await send(one, "one more", model="home/m")
        (kept,) = (await one.client.get("/recordings")).json()["recordings"]
    assert kept["turns"] == 1
