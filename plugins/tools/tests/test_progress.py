"""What a loop leaves in the state of its exchange, for plugins that show it."""

import asyncio

import pytest
from loop_models import Backend, Model, Tools, asked

from plugway import Attempt, Exchange, MessagesRequest, Outcome, Usage
from plugway_tools import (
    ToolResult,
    Verdict,
    asking_since,
    own_usage,
    own_usages,
    record_verdict,
    running_tools,
    verdicts_of,
)
from plugway_tools._progress import MAX_JUDGED
from plugway_tools.loop import Limits, Loop

pytestmark = pytest.mark.anyio


async def test_tools_are_told_while_they_run_and_the_model_while_it_is_asked_again():
    seen, both = {}, asyncio.Barrier(2)

    async def act(call):
        await both.wait()
        seen.setdefault("tools", [one.name for one in running_tools(exchange).values()])
        return ToolResult.of("done")

    class Watched(Model):
        async def __call__(self, request, attempt):
            seen[len(self.asked)] = (asking_since(exchange), dict(running_tools(exchange)))
            return await super().__call__(request, attempt)

    model = Watched(("", [("our_a", {}), ("our_b", {})]), ("Done.", []))
    attempt = Attempt(Backend(), "m", exchange=Exchange(asked()))
    exchange = attempt.exchange
    tools = Tools(our_a=act, our_b=act)
    reply = await Loop(model, attempt, tools, [].append, Limits()).run(asked(stream=True))
    assert running_tools(exchange) == {}
    assert [item.type async for item in reply.decoded()][-1] == "message_stop"
    assert seen["tools"] == ["our_a", "our_b"]
    assert seen[0] == (None, {})
    again, running = seen[1]
    assert again is not None
    assert running == {}
    assert asking_since(exchange) is None
    assert running_tools(exchange) == {}
    usages = own_usages(exchange, Outcome("completed", 200, 1.0))
    assert len(usages) == 2
    assert all(isinstance(one, Usage) and one.input_tokens for one in usages)
    assert own_usage(exchange, Outcome("completed", 200, 1.0)).input_tokens == sum(
        one.input_tokens for one in usages
    )


async def test_a_tool_that_is_cancelled_or_late_is_not_told_any_more():
    async def never(call):
        await asyncio.Event().wait()

    model = Model(("", [("our_a", {})]), ("Done.", []))
    attempt = Attempt(Backend(), "m", exchange=Exchange(asked()))
    loop = Loop(model, attempt, Tools(our_a=never), [].append, Limits(seconds=0.01))
    reply = await loop.run(asked(stream=True))
    assert [item async for item in reply.decoded()]
    assert running_tools(attempt.exchange) == {}


def test_verdicts_are_kept_without_what_they_quote_and_bounded():
    exchange = Exchange(MessagesRequest(b"{}"))
    assert verdicts_of(exchange) == []
    for _ in range(MAX_JUDGED + 5):
        record_verdict(exchange, "t" * 200, Verdict("denied", "`rm -rf /secret`: deletes files"))
    first, *rest = verdicts_of(exchange)
    assert (first.kind, first.reason, len(first.tool)) == ("denied", "deletes files", 80)
    assert len(rest) == MAX_JUDGED - 1
    record_verdict(exchange, "t", Verdict("allowed", "`x` reads"), quotes=False)
