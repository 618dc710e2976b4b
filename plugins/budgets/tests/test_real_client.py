"""The real Claude Code spends ten cents: its answers get shorter, then it says why and until when.

The upstream is strict (it rejects what Anthropic's API documents as invalid), counts a prompt by
its bytes, and writes as long as it may, up to `WANTED` tokens.
"""

import orjson
import pytest
import sqlalchemy as sa
from accounts_kit import Accounts

from plugway.testing import StrictUpstream, anthropic_stream, build_plugin, gateway, respond, sse
from plugway_anthropic import Anthropic
from plugway_budgets import Budgets
from plugway_budgets import _ledger as ledger
from plugway_budgets._limits import Limit, subject_of
from plugway_budgets._schema import ACCOUNT, CHARGE
from plugway_prices import Prices, nano_dollars
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_store import StorePlugin
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow]

WANTED = 3000
CENTS = nano_dollars("0.10")
PRICES = {"up/*": {"input": 0.4, "output": 10, "cache_read": 0.04}}


class Writer:
    """Writes as much as it may."""

    def __init__(self):
        self.lengths = []

    def __call__(self, request):
        if not request.body:
            return respond(200, {"data": [], "has_more": False})
        body = orjson.loads(request.body)
        prompt = len(request.body) // 4
        if "count_tokens" in request.path:
            return respond(200, {"input_tokens": prompt})
        length = min(WANTED, body["max_tokens"])
        self.lengths.append(length)
        usage = {"input_tokens": prompt, "output_tokens": length}
        reason = "end_turn" if length == WANTED else "max_tokens"
        events = anthropic_stream(
            "word " * (length // 50), usage=usage, model=body["model"], stop_reason=reason
        )
        events[0][1]["message"]["id"] = f"msg_{len(self.lengths):08}"
        return sse(events)


async def test_ten_cents_are_spent_in_answers_that_get_shorter_and_then_stop(tmp_path):
    writer = Writer()
    async with StrictUpstream("anthropic", otherwise=writer) as upstream:
        stack = [
            build_plugin(StorePlugin, "store", url=str(tmp_path / "store.db")),
            build_plugin(Accounts, "accounts"),
            build_plugin(Prices, "prices", models=PRICES),
            build_plugin(Resilience, "resilience"),
            build_plugin(Router, "router", models={"*": ["up/claude-opus-4-8"]}),
            build_plugin(Budgets, "budgets", contact="Ask Grace for more."),
            build_plugin(Anthropic, "up", base_url=upstream.url, api_key="sk-ant-1"),
        ]
        async with gateway(stack) as running:
            found = {plugin.name: plugin for plugin in running.app.snapshot.plugins}
            people, store = found["accounts"].people, found["budgets"]._now.store
            await people.add("ann")
            key = (await people.issue("ann")).secret
            limit = Limit(0, subject_of("person:ann"), "dollars", CENTS, "day", "Europe/Berlin")
            await store.write(ledger.set_limit, limit)
            claude = Claude(tmp_path, running.url, key, "claude-opus-4-8")
            answers = []
            for _ in range(8):
                answers.append(await claude.run("-p", "write me a long story"))
                if answers[-1].code:
                    break
            assert await found["budgets"].booked(10)
            (spent,) = await store.all(sa.select(ACCOUNT.c.spent, ACCOUNT.c.reserved))
            charges = await store.all(sa.select(CHARGE.c.nano))
    last = answers[-1]
    assert [answer.code for answer in answers[:-1]] == [0] * (len(answers) - 1), answers
    assert last.code != 0
    said = last.out + last.err
    assert "The daily budget of person `ann` is spent" in said
    assert "It begins again on" in said
    assert "00:00 (Europe/Berlin)" in said
    assert "Ask Grace for more." in said
    assert len(answers) >= 3
    assert writer.lengths[0] == WANTED
    assert min(writer.lengths) < WANTED, "the last answers are shorter"
    assert writer.lengths == sorted(writer.lengths, reverse=True)
    assert spent == (sum(one.nano for one in charges), 0)
    assert 0.8 * CENTS < spent.spent <= CENTS
