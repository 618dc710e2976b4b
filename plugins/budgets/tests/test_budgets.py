"""What callers may spend, what it is booked, and what they are told."""

import orjson
import pytest
from team import CENT, Metered, team

from plugway.testing import FeatureContract, anthropic_error, respond
from plugway_budgets import Budgets
from plugway_prices import nano_dollars
from plugway_store import StorePlugin

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Budgets
    beside = ((StorePlugin, {}),)


@pytest.fixture
def sqlite(tmp_path):
    return {"url": str(tmp_path / "store.db")}


def sent_limits(found):
    bodies = [orjson.loads(one.body) for one in found.upstream.requests]
    return [body["max_tokens"] for body in bodies if "max_tokens" in body]


async def test_a_request_costs_what_its_usage_says(database):
    async with team(database) as found:
        await found.limit("person:ann", nano_dollars(1))
        response = await found.ask()
        assert response.status_code == 200
        used = 1000 * 2000 + 100 * 10_000
        assert await found.balance("person:ann") == (used, 0)
        (charge,) = await found.charges()
    assert (charge.person, charge.key, charge.target) == ("ann", "k-ann", "up/test-model")
    assert (charge.input, charge.output, charge.nano, charge.measured) == (1000, 100, used, True)


async def test_a_stream_is_booked_like_a_whole_reply(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:ann", nano_dollars(1))
        assert (await found.ask(stream=True)).status_code == 200
        assert await found.balance("person:ann") == (3_000_000, 0)


async def test_answers_get_shorter_and_then_stop(sqlite):
    """Ten cents, with prompts of one cent: nothing is refused that could be paid."""
    meter = Metered(prompt=5000, wanted=10**6)
    async with team(sqlite, meter=meter, least_output_tokens=100) as found:
        await found.limit("person:ann", 10 * CENT)
        statuses = []
        for limit in (3000, 3000, 3000, 3000):
            response = await found.ask(text="word " * 4000, max_tokens=limit)
            statuses.append(response.status_code)
        assert statuses == [200, 200, 200, 429]
        first, second, third = sent_limits(found)
        assert (first, second) == (3000, 3000)
        assert 100 <= third < 1000
        balance = await found.balance("person:ann")
        assert balance.spent <= 10 * CENT
        # Less is left than the prompt and the shortest reply would cost.
        assert 10 * CENT - balance.spent < 5000 * 2000 * 1.02 + 100 * 10_000
        error = response.json()["error"]
    assert error["type"] == "billing_error"
    assert error["message"].startswith("The daily budget of person `ann` is spent: $0.09")
    assert "It begins again on" in error["message"]
    assert "at 00:00 (UTC)" in error["message"]


async def test_the_receipt_says_why_a_reply_is_short(sqlite):
    async with team(sqlite, meter=Metered(prompt=10, wanted=10**6)) as found:
        await found.limit("person:ann", 2 * CENT)
        response = await found.ask(max_tokens=5000)
        assert "by=budgets" in response.headers["plugway-receipt"]
    assert sent_limits(found)[0] < 2000


async def test_the_rejection_is_the_one_that_claude_code_shows(sqlite):
    async with team(sqlite, contact="Ask it@example.org for more.") as found:
        await found.limit("person:ann", 0)
        response = await found.ask()
        headers = response.headers
        assert not found.upstream.requests or all(
            "count_tokens" in one.path for one in found.upstream.requests
        )
    assert response.status_code == 429
    prefix = "anthropic-ratelimit-unified"
    assert headers["x-should-retry"] == "false"
    assert headers[f"{prefix}-status"] == "rejected"
    assert headers[f"{prefix}-overage-utilization"] == "1"
    assert headers[f"{prefix}-overage-period"] == "daily"
    assert headers[f"{prefix}-overage-disabled-reason"] == "org_spend_cap_reached"
    assert headers[f"{prefix}-reset"] == headers[f"{prefix}-overage-reset"]
    assert 0 < int(headers["retry-after"]) <= 86_401
    assert f"{prefix}-representative-claim" not in headers
    assert f"{prefix}-overage-status" not in headers
    assert response.json()["error"]["message"].endswith("Ask it@example.org for more.")


async def test_a_success_reports_the_callers_standing_instead_of_the_upstreams(sqlite):
    meter = Metered()
    meter.headers = [
        ("anthropic-ratelimit-unified-status", "allowed"),
        ("anthropic-ratelimit-requests-remaining", "7"),
        ("x-other", "stays"),
    ]
    async with team(sqlite, meter=meter) as found:
        await found.limit("person:ann", 4_000_000)
        first, second = await found.ask(), None
        await found.settled()
        second = await found.ask(max_tokens=1)
        other = await found.ask("bob")
    prefix = "anthropic-ratelimit-unified"
    assert first.headers[f"{prefix}-overage-utilization"] == "0.00"
    assert first.headers[f"{prefix}-status"] == "allowed"
    assert f"{prefix}-overage-surpassed-threshold" not in first.headers
    assert second.headers[f"{prefix}-overage-utilization"] == "0.75"
    assert second.headers[f"{prefix}-overage-surpassed-threshold"] == "0.75"
    assert second.headers[f"{prefix}-status"] == "allowed_warning"
    assert second.headers[f"{prefix}-representative-claim"] == "overage"
    assert "anthropic-ratelimit-requests-remaining" not in second.headers
    assert other.headers["anthropic-ratelimit-requests-remaining"] == "7", "no cap, no change"


async def test_the_tightest_of_several_limits_decides(sqlite):
    async with team(sqlite, meter=Metered(prompt=50, wanted=10**6)) as found:
        await found.limit("person:ann", nano_dollars(100), period="month")
        await found.limit("group:dev", 5000, "tokens", "week")
        await found.limit("key:k-ann", nano_dollars(50))
        assert (await found.ask("ann@dev", max_tokens=20_000)).status_code == 200
        assert 4000 < sent_limits(found)[-1] <= 4950
        response = await found.ask("ann@dev", max_tokens=20_000)
    assert response.status_code == 429
    message = response.json()["error"]["message"]
    assert message.startswith("The weekly budget of group `dev` is spent; what is left")
    assert "5,000" not in message, "what a group spent is not told"
    assert response.headers["anthropic-ratelimit-unified-overage-scope"] == "group_pool"


async def test_a_missing_price_is_an_error_only_where_dollars_are_limited(sqlite):
    async with team(sqlite, prices={"up/known": {"input": 1, "output": 1}}) as found:
        await found.limit("person:ann", nano_dollars(1))
        await found.limit("person:bob", 10_000, "tokens")
        response = await found.ask("ann")
        assert (await found.ask("bob")).status_code == 200
        assert (await found.charges())[0].nano is None
    assert response.status_code == 400
    assert "no price is known for `up/test-model`" in response.json()["error"]["message"]
    assert "plugin `prices`" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("script", "booked"),
    [
        (anthropic_error(529, "overloaded_error", "Overloaded"), False),
        (anthropic_error(400, "invalid_request_error", "no"), False),
        (respond(200, {"type": "message"}), True),
    ],
)
async def test_what_a_failed_attempt_reserved_is_given_back(sqlite, script, booked):
    async with team(sqlite) as found:
        await found.limit("person:ann", nano_dollars(1))
        found.upstream.script(script)
        await found.ask()
        balance = await found.balance("person:ann")
    assert balance.reserved == 0
    assert bool(balance.spent) == booked


async def test_a_reply_without_usage_is_booked_as_what_was_reserved(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:ann", 5000, "tokens")
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "hi"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        found.upstream.script(respond(200, message))
        assert (await found.ask()).status_code == 200
        balance = await found.balance("person:ann", "tokens")
        (charge,) = await found.charges()
    assert balance.reserved == 0
    assert balance.spent == charge.input + 100
    assert not charge.measured


async def test_a_person_sees_only_what_is_its_own(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:ann", 10 * CENT)
        await found.limit("group:dev", nano_dollars(10))
        await found.ask("ann@dev")
        await found.ask("bob@dev")
        await found.settled()
        ann = (await found.get("/api/oauth/usage", "ann@dev")).json()
        bob = await found.get("/api/oauth/usage", "bob@dev")
    assert ann["extra_usage"] == {
        "is_enabled": True,
        "monthly_limit": 10,
        "used_credits": 0,
        "utilization": 3,
        "currency": "USD",
    }
    (row,) = ann["limits"]
    assert (row["group"], row["percent"], row["is_active"]) == ("daily", 3, True)
    assert bob.headers["cache-control"] == "no-store"
    assert bob.json()["limits"] == []
    extra = bob.json()["extra_usage"]
    assert (extra["monthly_limit"], extra["utilization"]) == (None, None)
    assert extra["daily"] == {"limit": None, "used_credits": 0, "utilization": None}


async def test_the_gateways_own_token_has_no_budget(sqlite):
    async with team(sqlite) as found:
        await found.limit("person:*", 0)
        assert await found.running.ask("hello")
        assert (await found.ask("ann")).status_code == 429
        assert [one.key for one in await found.charges()] == ["owner"]
