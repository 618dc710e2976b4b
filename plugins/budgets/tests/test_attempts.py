"""Retries, fallbacks, cuts, other APIs, rates, and a database that is away."""

import anyio
import httpx2
import orjson
import pytest
from team import CENT, Metered, team

from plugway.testing import (
    Cut,
    Hold,
    Sleep,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    postgresql_server,
    request_body,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_budgets import _plugin
from plugway_budgets._limits import Limit, subject_of
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_prices import nano_dollars
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_store import StoreError

pytestmark = pytest.mark.anyio


@pytest.fixture
def sqlite(tmp_path):
    return {"url": str(tmp_path / "store.db")}


def two(url):
    """An expensive backend and a cheap one."""
    return [
        build_plugin(Router, "router", models={"*": ["dear/big", "cheap/small"]}),
        build_plugin(Anthropic, "dear", base_url=url, api_key="sk-ant-1"),
        build_plugin(Anthropic, "cheap", base_url=url, api_key="sk-ant-1"),
    ]


PRICES = {"dear/*": {"input": 100, "output": 1000}, "cheap/*": {"input": 1, "output": 1}}


async def test_each_try_is_booked_and_only_one_is_reserved_at_a_time(sqlite):
    retries = build_plugin(Resilience, "resilience", repeat_min_seconds=0, repeat_max_seconds=0)
    async with team(sqlite, retries) as found:
        await found.limit("person:ann", 2_100_000)  # one try, at most
        found.upstream.script(anthropic_error(529, "overloaded_error", "Overloaded"))
        response = await found.ask(max_tokens=10)
        assert response.status_code == 200
        assert len([r for r in found.upstream.requests if "count" not in r.path]) == 2
        assert await found.balance("person:ann") == (2_100_000, 0)


async def test_a_fallback_is_reserved_at_its_own_price(sqlite):
    async with team(sqlite, prices=PRICES, backends=two) as found:
        await found.limit("person:ann", nano_dollars(1))
        found.upstream.script(anthropic_error(500, "api_error", "no"))
        response = await found.ask(max_tokens=100)
        assert "cheap/small" in response.headers["plugway-receipt"]
        assert await found.balance("person:ann") == (1_100_000, 0)


async def test_a_target_that_is_too_expensive_is_skipped_for_one_that_is_not(sqlite):
    async with team(sqlite, prices=PRICES, backends=two) as found:
        await found.limit("person:ann", CENT)
        response = await found.ask(max_tokens=1000)
        assert response.status_code == 200
        assert "cheap/small" in response.headers["plugway-receipt"]
        assert "by=budgets" in response.headers["plugway-receipt"]
        await found.limit("person:ann", 0)
        refused = await found.ask(max_tokens=1000)
    assert refused.status_code == 429
    assert refused.json()["error"]["type"] == "billing_error"


async def test_a_cut_stream_is_booked_by_what_was_reported_and_its_time(sqlite):
    usage = {"input_tokens": 700, "output_tokens": 5}
    events = anthropic_stream(["a", "b", "c"], usage=usage)[:4]
    async with team(sqlite, cut_tokens_per_second=100) as found:
        await found.limit("person:ann", nano_dollars(1))
        found.upstream.script(sse([*events, Sleep(0.3)], end=Cut()))
        with pytest.raises(httpx2.HTTPError):
            await found.ask(stream=True)
        await found.balance("person:ann")
        (charge,) = await found.charges()
        balance = await found.balance("person:ann")
    assert charge.input == 700
    assert 20 <= charge.output <= 100
    assert not charge.measured
    assert balance == (charge.nano, 0)


async def test_a_client_that_leaves_pays_for_the_time_it_took(sqlite):
    async with team(sqlite, cut_tokens_per_second=100) as found:
        await found.limit("person:ann", nano_dollars(1))
        found.upstream.script([Hold()])
        async with anyio.create_task_group() as group:
            group.start_soon(found.ask)
            await found.upstream.wait_for_request()
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not await found.charges():
                await anyio.sleep(0.01)
        (charge,) = await found.charges()
        balance = await found.balance("person:ann")
    assert 0 < charge.output < 100
    assert balance == (charge.nano, 0)


async def test_a_client_that_leaves_while_it_waits_for_the_budget_reserves_nothing(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:ann", 1200, "tokens")
        found.upstream.script([Hold()])
        async with anyio.create_task_group() as group:
            group.start_soon(found.ask)
            await found.upstream.wait_for_request()
            with anyio.move_on_after(0.5):
                await found.ask(max_tokens=1150)
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            while (await found.balance("person:ann", "tokens")).reserved:
                await anyio.sleep(0.01)


async def test_a_request_waits_for_what_others_only_reserved(sqlite):
    meter = Metered(prompt=50, wanted=10)
    async with team(sqlite, meter=meter) as found:
        await found.limit("person:ann", 1200, "tokens")
        usage = {"input_tokens": 50, "output_tokens": 10}
        found.upstream.script(sse([Sleep(0.4), *anthropic_stream(usage=usage)]))
        statuses = []

        async def one(**fields):
            statuses.append((await found.ask(**fields)).status_code)

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: one(max_tokens=1100, stream=True))
            await found.upstream.wait_for_request()
            group.start_soon(lambda: one(max_tokens=1000))
        assert statuses == [200, 200]


async def test_what_is_only_reserved_is_not_reported_as_spent(sqlite):
    async with team(sqlite, wait_seconds=0.1) as found:
        await found.limit("person:ann", 1200, "tokens")
        found.upstream.script([Hold()])
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: found.ask(max_tokens=1100))
            await found.upstream.wait_for_request()
            response = await found.ask(max_tokens=1000)
            group.cancel_scope.cancel()
    assert response.status_code == 429
    assert response.json()["error"]["type"] == "rate_limit_error"
    assert "running requests have reserved the rest" in response.json()["error"]["message"].lower()
    assert response.headers["x-should-retry"] == "true"


async def test_requests_at_once_are_limited_and_given_back(sqlite):
    async with team(sqlite, wait_seconds=0.05) as found:
        await found.limit("person:ann", 2, "streams")
        found.upstream.script([Hold()], [Hold()])
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(found.ask)
            await found.upstream.wait_for_request(2)
            refused = await found.ask()
            assert (await found.ask("bob")).status_code == 200
            group.cancel_scope.cancel()
        assert refused.status_code == 429
        assert "may have 2 requests running at once" in refused.json()["error"]["message"]
        with anyio.fail_after(10):
            while (await found.balance("person:ann", "streams")).reserved:
                await anyio.sleep(0.01)
        assert (await found.ask()).status_code == 200


async def test_requests_a_minute_are_limited(sqlite):
    async with team(sqlite) as found:
        await found.limit("key:*", 3, "requests")
        statuses = [(await found.ask()).status_code for _ in range(4)]
        refused = await found.ask()
        assert statuses == [200, 200, 200, 429]
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert (await found.ask("bob")).status_code == 200, "each key has its own"


async def test_tokens_a_minute_count_replies_too(sqlite):
    async with team(sqlite, meter=Metered(prompt=20, wanted=400)) as found:
        await found.limit("person:ann", 500, "tokens_a_minute")
        assert (await found.ask(max_tokens=480)).status_code == 200
        await found.settled()
        with anyio.fail_after(10):
            while (await found.ask("ann", text="x" * 800)).status_code == 200:
                await anyio.sleep(0.01)
        too_large = await found.ask("ann", text="x" * 5000)
    assert "alone has about" in too_large.json()["error"]["message"]
    assert too_large.headers["x-should-retry"] == "false"


async def test_a_client_of_another_api_without_a_limit_is_bound_to_what_was_reserved(sqlite):
    def chat(url):
        return [
            build_plugin(OpenAIApi, "api"),
            build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1", api_key="sk-1"),
        ]

    async with team(sqlite, backends=chat, meter=Metered(), least_output_tokens=10) as found:
        await found.limit("person:ann", CENT)
        usage = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
        message = {"role": "assistant", "content": "hi"}
        answer = {
            "id": "c1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
        from plugway.testing import respond

        found.upstream.script(respond(200, answer))
        body = {"model": "up/m", "messages": [{"role": "user", "content": "hello"}]}
        response = await found.running.client.post(
            "/v1/chat/completions",
            content=orjson.dumps(body),
            headers={"content-type": "application/json", "authorization": "Bearer key-ann"},
        )
        assert response.status_code == 200, response.text
        (request,) = found.upstream.requests
        sent = orjson.loads(request.body)
        balance = await found.balance("person:ann")
    assert sent.get("max_tokens", sent.get("max_completion_tokens", 10**9)) <= 1000
    assert balance == (30 * 2000 + 20 * 10_000, 0)


async def test_200_requests_for_the_last_dollars_never_cost_more(database):
    meter = Metered(prompt=100, wanted=10**6)
    async with team(database, meter=meter, wait_seconds=0) as found:
        await found.limit("person:ann", 5 * CENT)
        await found.limit("group:dev", 4 * CENT, period="month")
        statuses = []

        async def one():
            response = await found.ask("ann@dev", max_tokens=300)
            statuses.append(response.status_code)

        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(one)
        person = await found.balance("person:ann")
        total = sum(one.nano for one in await found.charges())
    assert person == (total, 0)
    assert total <= 4 * CENT
    assert 4 * CENT - total < 2 * (100 * 2000 + 300 * 10_000), "and most of it was used"
    assert set(statuses) <= {200, 429}


@pytest.mark.parametrize("policy", ["refuse", "allow"])
async def test_without_the_database_requests_are_refused_or_booked_later(
    sqlite, policy, monkeypatch
):
    async with team(sqlite, if_unavailable=policy) as found:
        await found.limit("person:ann", nano_dollars(1))
        await found.ask()
        await found.settled()
        store, broken = found.plugin._now.store, True
        write = store.write

        async def failing(*work):
            if broken:
                raise StoreError("the database", "timed out", "start it", "unreachable")
            return await write(*work)

        monkeypatch.setattr(store, "write", failing)
        response = await found.ask()
        broken = False
        spent = (await found.balance("person:ann")).spent
    if policy == "refuse":
        assert response.status_code == 429
        message = response.json()["error"]["message"]
        assert "`if_unavailable: refuse`" in message
        assert "the database: timed out - start it" in message
        assert response.headers["x-should-retry"] == "false"
        reason = "anthropic-ratelimit-unified-overage-disabled-reason"
        assert response.headers[reason] == "fetch_error"
        assert spent == 3_000_000
    else:
        assert response.status_code == 200
        assert spent == 6_000_000


async def test_what_is_used_while_the_database_is_away_is_booked_afterwards(sqlite, monkeypatch):
    async with team(sqlite) as found:
        await found.limit("person:ann", nano_dollars(1))
        store, away = found.plugin._now.store, False
        write = store.write

        async def failing(work, *rest):
            if away and work is _plugin.ledger.settle:
                raise StoreError("the database", "gone", "start it", "unreachable")
            return await write(work, *rest)

        monkeypatch.setattr(store, "write", failing)
        away = True
        assert (await found.ask()).status_code == 200
        assert not await found.plugin.booked(0.2)
        away = False
        assert (await found.balance("person:ann")) == (3_000_000, 0)


async def test_explaining_and_counting_cost_nothing(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:ann", 0)
        headers = {"content-type": "application/json", "authorization": "Bearer key-ann"}
        for path in ("/v1/messages/count_tokens", "/v1/messages/explain"):
            body = orjson.dumps(request_body())
            response = await found.running.client.post(path, content=body, headers=headers)
            assert response.status_code == 200
        assert await found.charges() == []


async def test_a_thinking_budget_stays_below_the_shortened_reply(sqlite):
    async with team(sqlite, meter=Metered(prompt=10)) as found:
        await found.limit("person:ann", 3100, "tokens")
        thinking = {"type": "enabled", "budget_tokens": 30_000}
        assert (await found.ask(max_tokens=32_000, thinking=thinking)).status_code == 200
        sent = orjson.loads(found.upstream.requests[-1].body)
    assert sent["max_tokens"] < 3100
    assert sent["thinking"]["budget_tokens"] < sent["max_tokens"]


async def test_several_gateways_count_rates_together(sqlite, redis):
    shared = {**sqlite, **redis.options}
    async with team(shared) as one, team(shared) as other:
        await one.limit("person:ann", 3, "requests")
        other.plugin._read_at = float("-inf")
        statuses = [(await gateway.ask()).status_code for gateway in (one, other, one, other)]
    assert statuses == [200, 200, 200, 429]


async def test_a_zone_that_this_machine_does_not_know_is_named(sqlite):
    async with team(sqlite) as found:
        await found.plugin.set(Limit(0, subject_of("person:ann"), "tokens", 9, "day", "Mars/Base"))
        response = await found.ask()
        assert (await found.ask("bob")).status_code == 200
    assert response.status_code == 429
    assert "unknown time zone 'Mars/Base'" in response.json()["error"]["message"]


async def test_an_absurd_limit_of_the_client_is_lowered_like_any_other(sqlite):
    async with team(sqlite, meter=Metered(prompt=10)) as found:
        await found.limit("person:ann", 2 * CENT)
        assert (await found.ask(max_tokens=10**9)).status_code == 200
    assert orjson.loads(found.upstream.requests[-1].body)["max_tokens"] < 2000


async def test_a_database_that_was_restarted_is_not_noticed(tmp_path):
    with postgresql_server() as server:
        async with team(server.database()) as found:
            await found.limit("person:ann", nano_dollars(1))
            assert (await found.ask()).status_code == 200
            await found.settled()
            server.kill()
            await anyio.to_thread.run_sync(server.start)
            found.plugin._read_at = float("-inf")
            assert (await found.ask()).status_code == 200
            found.store = found.plugin._now.store
            assert await found.balance("person:ann") == (6_000_000, 0)


@pytest.mark.parametrize("countable", [True, False])
@pytest.mark.parametrize(
    "source",
    [
        {"type": "url", "url": "https://example.org/a.pdf"},
        {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
    ],
)
async def test_a_small_document_with_many_pages_does_not_exceed_a_budget(sqlite, source, countable):
    meter = Metered(prompt=500_000, wanted=10)
    meter.countable = countable
    turn = {"role": "user", "content": [{"type": "document", "source": source}]}
    async with team(sqlite, meter=meter) as found:
        await found.limit("person:ann", 90 * CENT)  # the prompt alone costs a dollar
        response = await found.ask(max_tokens=10, messages=[turn])
        assert response.status_code == 429, response.text
        assert response.json()["error"]["type"] == "billing_error"
        assert not [r for r in found.upstream.requests if "count" not in r.path]
        assert await found.balance("person:ann") == (0, 0)


async def test_a_document_that_the_server_counts_reserves_no_more_than_that(sqlite):
    source = {"type": "url", "url": "https://example.org/a.pdf"}
    turn = {"role": "user", "content": [{"type": "document", "source": source}]}
    async with team(sqlite, meter=Metered(prompt=3000, wanted=10)) as found:
        await found.limit("person:ann", 1000 * CENT)
        response = await found.ask(max_tokens=10, messages=[turn])
        assert response.status_code == 200, response.text
        assert await found.balance("person:ann") == (3000 * 2000 + 10 * 10_000, 0)


@pytest.mark.parametrize(
    "tool",
    [
        {"name": "t", "input_schema": {"type": "object"}},
        {"type": "computer_20250124", "name": "c", "display_width_px": 9, "display_height_px": 9},
    ],
)
async def test_what_a_server_adds_for_tools_does_not_exceed_a_budget(sqlite, tool):
    added = 1300 if "type" in tool else 540  # https://platform.claude.com/docs/en/agents-and-tools
    meter = Metered(prompt=added + 60, wanted=10**6)
    async with team(sqlite, meter=meter, least_output_tokens=1) as found:
        await found.limit("person:ann", CENT)
        for _ in range(12):
            await found.ask(max_tokens=40, tools=[tool])
        balance = await found.balance("person:ann")
    assert 0.5 * CENT < balance.spent <= CENT


async def test_a_limit_of_no_requests_says_so(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:ann", 0, "requests")
        response = await found.ask()
    assert response.status_code == 429
    assert response.headers["x-should-retry"] == "false"
    said = response.json()["error"]["message"]
    assert said == "Person `ann` may send no requests: the limit is 0 a minute."
