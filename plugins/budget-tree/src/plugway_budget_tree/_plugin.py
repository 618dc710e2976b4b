"""The plugin: reserves each call before it is sent, settles it after, and refuses what is too much.

See `_tree` for the arithmetic, and `_size` for the estimate of a prompt.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from plugway import (
    Attempt,
    BackendRefused,
    BackendUnavailable,
    Exchange,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    Outcome,
    Plugin,
    Reply,
    RequestRejected,
    Send,
    StateKey,
    Usage,
    hookimpl,
)
from plugway_budget_tree._answers import message, refusal, spent
from plugway_budget_tree._limits import InvalidLimits, Limits
from plugway_budget_tree._options import BudgetTreeOptions
from plugway_budget_tree._rules import HEADER, asked_in, limits_of
from plugway_budget_tree._size import Meter, Size, size_of, usage_of
from plugway_budget_tree._tree import Reservation, Shortage, Tree, Trees
from plugway_endpoints import GatewayLine, typed_line
from plugway_prices import (
    LONG,
    Price,
    TellsPrices,
    choices_of,
    missing_price,
    prices_in,
    replies_in,
)
from plugway_wire.reply_limit import reply_limit

if TYPE_CHECKING:
    from plugway_budget_tree._saved import Saved
    from plugway_store import HoldsStore

PATH: Final = "/budget-tree/conversations"
FASTEST: Final = 1000
"""Tokens per second that a model is assumed to have written if the reply was cut off."""
_WORKS_ON: Final = ("tool_use", "pause_turn")
"""Stop reasons after which a subagent sends another request."""


@dataclass(slots=True)
class _Call:
    """A call that was reserved."""

    reservation: Reservation
    key: tuple[str, str, str]
    size: Size
    reply: Reply | None = None


@dataclass(slots=True)
class _Turn:
    """The findings in one exchange."""

    tree: Tree
    limits: Limits
    calls: list[_Call] = field(default_factory=list[_Call])
    answer: str = ""


class BudgetTree(Plugin[BudgetTreeOptions]):
    """Limits what a conversation with its subagents may spend: dollars, tokens, calls, agents."""

    outside: ClassVar[tuple[str, ...]] = ("budgets",)  # which should not reserve while this waits

    def __init__(self, options: BudgetTreeOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.trees = Trees(options.conversations)
        """The conversations; after a reload those of the instance before."""
        self.meter = Meter()
        self.saved: Saved | None = None
        """The conversations in the database, while the gateway runs with one."""
        self._prices: TellsPrices | None = None
        self._turn: StateKey[_Turn] = StateKey(self.name)

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Take over what was spent from the configuration before."""
        before = gateway.predecessor.find(BudgetTree) if gateway.predecessor else []
        for name, plugin in before:
            if name == self.name:
                self.trees, self.meter = plugin.trees, plugin.meter
                self.trees.most = self.options.conversations
        self._prices = prices_in(gateway)
        holder = _store_of(gateway)
        if holder is None:
            yield
            return
        from plugway_budget_tree._saved import SCHEMA, Saved  # needs the packages of `store`

        async with holder.opened(SCHEMA) as store, anyio.create_task_group() as tasks:
            run = next((p.saved.gateway for _, p in before if p.saved is not None), "")
            self.saved = Saved(store, self.log, run)
            tasks.start_soon(self.saved.run)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self.saved.close()

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Find the conversation and its limits.

        Raises:
            RequestRejected: the limits are invalid, there are too many subagents, or the database
                is not available.
        """
        if exchange.endpoint != "messages":
            return
        name = exchange.session_id
        if name is None and self.options.without_conversation == "refuse":
            raise InvalidRequest(
                "this request names no conversation (header `x-claude-code-session-id`), and this "
                "gateway serves only conversations with a budget",
                retry=False,
                record=True,
            )
        tree = self._tree(name, exchange)
        if self.saved is not None and name is not None:
            await self._refresh(self.saved, tree)
        turn = _Turn(tree, Limits())
        exchange.state[self._turn] = turn
        asked = asked_in(request)
        self._read_line(request, exchange, turn)
        turn.limits = tree.limits = limits_of(self.options, exchange.caller, tree.asked, asked)
        self._admit_agent(turn, exchange)

    @hookimpl
    def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Confirm a line in a turn of its own, without a model."""
        turn = exchange.state.get(self._turn)
        if turn is None or not turn.answer:
            return None
        text = turn.answer.replace("{spent}", spent(turn.tree, turn.limits))
        return message(request.model, text)

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Have a request of another API translated if its client set no limit for the reply: in
        the client's own bytes, the budget's limit would not reach the server."""
        turn, original = exchange.state.get(self._turn), request.original
        if turn is None or original is None or "max_tokens" not in original.made_up:
            return None
        price, _ = self._price(request, attempt, turn.limits)
        if turn.limits.tokens is None and (turn.limits.nano is None or (price and price.free)):
            return None
        because = "the client set no limit for its reply, and its budget needs one"
        return request.replace(because=because, stream=request.stream)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Reserve the call, shorten the reply to what is left, and send it.

        Raises:
            RequestRejected: the budget is used up (402), or no price is known (400).
        """
        turn = exchange.state.get(self._turn)
        if turn is None:
            return await send(request, attempt)
        self._settle(turn, None)  # an earlier call of this exchange, as in a loop of tools
        call = await self._reserved(request, attempt, exchange, turn)
        turn.calls.append(call)
        request = _shortened(request, call.reservation.reply // replies_in(request))
        try:
            call.reply = await send(request, attempt)
        except (BackendRefused, BackendUnavailable, RequestRejected):
            turn.calls.remove(call)
            turn.tree.settle(call.reservation, None)
            raise
        except BaseException:
            turn.calls.remove(call)
            turn.tree.settle(call.reservation, _assumed(call.reservation))
            if self.saved is not None:
                self.saved.changed(turn.tree)
            raise
        return call.reply

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Settle the calls, and note whether a subagent works on."""
        turn = exchange.state.get(self._turn)
        if turn is None:
            return
        self._settle(turn, outcome)
        agent = exchange.agent_id
        if agent is not None and not _works_on(outcome):
            turn.tree.end_agent(agent)

    async def _refresh(self, saved: Saved, tree: Tree) -> None:
        """Read what other gateways have spent. Raises `RequestRejected` if that is required."""
        problem = await saved.refresh(tree)
        if problem and self.options.if_unavailable == "refuse":
            raise RequestRejected(
                "The database with what conversations have spent is not available, and this "
                "gateway serves nothing without it. Details are in the gateway's log.",
                status=503,
                record=True,
            )

    # ── for other plugins: `plugway_endpoints.ReadsLines` ────────────────────────────────────

    def reads_line(self, line: GatewayLine) -> bool:
        """All lines `@plugway budget …`; it also answers those that are not understood."""
        return line.word == "budget"

    # ── limits ───────────────────────────────────────────────────────────────────────────────

    def _tree(self, name: str | None, exchange: Exchange) -> Tree:
        caller = exchange.caller.name
        return Tree(exchange.id, caller) if name is None else self.trees.of(name[:256], caller)

    def _read_line(self, request: MessagesRequest, exchange: Exchange, turn: _Turn) -> None:
        """Read what the user typed."""
        line = typed_line(request, exchange)
        if line is not None and self.reads_line(line):
            turn.answer = self._obey(line, turn.tree, exchange)

    def _obey(self, line: GatewayLine, tree: Tree, exchange: Exchange) -> str:
        """Set what a line asks for; the reply to it, empty if a model replies."""
        text = line.said.partition(" ")[2].strip().rstrip(".!")
        if not text:
            return "{spent}"
        if exchange.session_id is None:
            return (
                "This client names no conversation (header `x-claude-code-session-id`), so a "
                f"budget cannot be remembered: send the header `{HEADER}` with each request."
            )
        if text.casefold() in ("off", "default"):
            self._ask(tree, Limits())
            return "{spent}"
        try:
            wanted = Limits.parse(text)
        except InvalidLimits as error:
            return f"Nothing was changed: {error}. Example: `@plugway budget 2 dollars`."
        self._ask(tree, wanted.or_else(tree.asked))
        return "{spent}" if line.alone else ""

    def _ask(self, tree: Tree, limits: Limits) -> None:
        tree.asked = limits
        if self.saved is not None:
            self.saved.asked(tree)

    def _admit_agent(self, turn: _Turn, exchange: Exchange) -> None:
        agent, most = exchange.agent_id, turn.limits.agents
        if agent is None or turn.tree.begin_agent(agent, most):
            return
        raise RequestRejected(
            f"Too many subagents at once: {len(turn.tree.agents)} of {most} are working. Do not "
            "start this one again before another one has finished.",
            status=429,
            retry=False,
            record=True,
        )

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    async def _reserved(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange, turn: _Turn
    ) -> _Call:
        price, long = self._price(request, attempt, turn.limits)
        size = size_of(request)
        key = (turn.tree.name, exchange.agent_id or "", attempt.target)
        prompt = self.meter.estimate(key, size)
        wanted = request.get("max_tokens")
        wanted = wanted * replies_in(request) if isinstance(wanted, int) and wanted >= 0 else 0
        reserve = partial(turn.tree.reserve, turn.limits, price, prompt, wanted, long=long)
        due = time.monotonic() + self.options.wait_seconds
        waited = False
        while True:
            left = due - time.monotonic()
            made = reserve(self.options.usual_reply)
            if isinstance(made, Shortage) and not (made.temporary and left > 0):
                made = reserve(self.options.least_reply)
            if isinstance(made, Reservation):
                break
            if not made.temporary or left <= 0:
                raise refusal(made, turn.limits)
            waited = True
            with anyio.move_on_after(left):
                await turn.tree.change()
        if waited:
            what = "waited for running calls of this conversation, which had reserved the rest"
            exchange.note(self.name, what, stage="budget")
        return _Call(made, key, size)

    def _price(
        self, request: MessagesRequest, attempt: Attempt, limits: Limits
    ) -> tuple[Price | None, bool]:
        assert self._prices is not None, "exchanges are served only while the gateway runs"
        choices = choices_of(request)
        price = self._prices.price_of(attempt.backend, attempt.model, datetime.now(UTC), choices)
        if price is None and limits.nano is not None:
            message = missing_price(attempt.backend, attempt.model)
            raise InvalidRequest(f"budget in dollars: {message}", retry=False, record=True)
        return price, LONG in choices

    def _settle(self, turn: _Turn, outcome: Outcome | None) -> None:
        """Settle the open calls; with `outcome`, at the end of the exchange."""
        for call in turn.calls:
            if call.reply is not None and call.reply.status >= 400:
                turn.tree.settle(call.reservation, None)
                continue
            usage = usage_of(call.reply) if call.reply is not None else None
            if usage is None and outcome is not None and outcome.kind == "completed":
                usage = outcome.usage if any(outcome.usage) else None
            if usage is not None:
                self.meter.learn(call.key, call.size, usage)
            turn.tree.settle(call.reservation, usage or _assumed(call.reservation))
        if turn.calls and self.saved is not None:
            self.saved.changed(turn.tree)
        turn.calls.clear()

    # ── reports ──────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """What conversations have spent, for `plugway budget`."""
        return [Route(PATH, self._report, methods=["GET"])]

    async def _report(self, request: Request) -> Response:
        rows = [tree.report() for tree in self.trees]
        return JSONResponse({"conversations": rows[::-1]})


def _store_of(gateway: Gateway) -> HoldsStore | None:
    """The plugin `store`, if it is listed: only then its package has been imported."""
    if "plugway_store" not in sys.modules:
        return None
    from plugway_budget_tree._saved import store_of

    return store_of(gateway)


def _shortened(request: MessagesRequest, tokens: int) -> MessagesRequest:
    """The request with `max_tokens` of what was reserved, and its thinking budget below."""
    wanted = request.get("max_tokens")
    if wanted == tokens or not isinstance(wanted, int):  # the server refuses what is no number
        return request
    fields = reply_limit(request.get("thinking"), tokens)
    return request.replace(because="what is left of the conversation's budget", **fields)


def _works_on(outcome: Outcome) -> bool:
    """Whether a subagent sends another request: after a tool call, or because it retries."""
    if outcome.kind == "completed":
        return outcome.stop_reason in _WORKS_ON
    return outcome.status >= 500 or outcome.status in (408, 409, 429)


def _assumed(reservation: Reservation) -> Usage:
    """The most that a call may have used whose reply was cut off or says nothing."""
    seconds = time.monotonic() - reservation.began
    reply = min(reservation.reply, int(seconds * FASTEST) + 1)
    return Usage(output_tokens=reply, cache_creation_tokens=reservation.prompt)
