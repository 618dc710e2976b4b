"""A gateway with budgets over an upstream that counts what its replies cost."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio

from plugway.testing import (
    StrictUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_budget_tree import BudgetTree
from plugway_prices import Prices

INPUT, OUTPUT = 3, 15
"""US dollars per million tokens."""


class Spender:
    """Replies as long as it may; the usage is that of a tokenizer with 4 bytes a token."""

    def __init__(self, *, share=1.0, says="Hello.", calls=()):
        self.share = share
        """How much of `max_tokens` a reply takes."""
        self.says = says
        self.calls = calls
        self.micro = 0
        """What all replies cost, in millionths of a dollar."""
        self.max_tokens = []
        self.tokens = 0

    def __call__(self, request):
        if request.method == "GET":
            return respond(200, {"data": [{"type": "model", "id": "m", "display_name": "M"}]})
        body = request.json
        if request.path.endswith("/count_tokens"):
            return respond(200, {"input_tokens": len(request.body) // 4})
        prompt, reply = len(request.body) // 4, int(body["max_tokens"] * self.share)
        self.max_tokens.append(body["max_tokens"])
        self.micro += prompt * INPUT + reply * OUTPUT
        self.tokens += prompt + reply
        usage = {"input_tokens": prompt, "output_tokens": reply}
        message = {"tool_calls": self.calls, "usage": usage, "model": body["model"]}
        if body.get("stream"):
            return sse(anthropic_stream(self.says, **message))
        return respond(200, anthropic_message(self.says, **message))

    @property
    def dollars(self):
        return self.micro / 1e6


class Talk:
    """The requests of one conversation."""

    def __init__(self, running, spender, plugin, upstream):
        self.running, self.spender, self.plugin, self.upstream = running, spender, plugin, upstream
        self.refused = []
        """Errors other than the budget's."""

    async def send(self, text="hello", *, agent=None, session="s-1", headers=(), **fields):
        """Send one turn; the response, whatever its status."""
        lines = {"x-claude-code-session-id": session} if session else {}
        if agent is not None:
            lines |= {"x-claude-code-agent-id": agent}
        messages = [{"role": "user", "content": text}]
        body = {"model": "up/m", "max_tokens": 1000, "messages": messages, **fields}
        response = await self.running.client.post(
            "/v1/messages", json=body, headers={**lines, **dict(headers)}
        )
        if response.status_code not in (200, 402):
            self.refused.append(response.text)
        return response

    @property
    def tree(self):
        return self.plugin.trees.find("s-1")

    async def settled(self):
        """Wait until no call runs: replies are settled after their last byte."""
        with anyio.fail_after(10):
            while any(tree.running for tree in self.plugin.trees):
                await anyio.sleep(0.001)

    def spent(self):
        """Dollars that the plugin has counted."""
        return self.tree.nano / 1e9


@asynccontextmanager
async def budgeted(spender=None, *, before=(), priced=True, backend=None, tokens=(), **options):
    spender = spender or Spender()
    plugin = build_plugin(BudgetTree, "budget-tree", **options)
    models = {"up/*": {"input": INPUT, "output": OUTPUT}} if priced else {}
    prices = build_plugin(Prices, "prices", models=models)
    async with StrictUpstream("anthropic", otherwise=spender) as upstream:
        options_of_up = {"base_url": upstream.url, "api_key": "sk-up", "zone": "vendor"}
        up = backend or build_plugin(AnthropicCompatible, "up", **options_of_up)
        stack = [*before, plugin, prices, up]
        async with gateway(stack, tokens=list(tokens)) as running:
            yield Talk(running, spender, plugin, upstream)


def message_of(response):
    """The error message, or the text of the reply."""
    body = response.json()
    return body["error"]["message"] if "error" in body else body["content"][0]["text"]
