"""The plugin: understands the wish, remembers the choice, and routes by it.

See `_wish` for what counts as a wish, and `_answers` for the texts to the user.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import ClassVar, Final

import anyio
import anyio.abc

from plugway import (
    Attempt,
    Bounded,
    Exchange,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    ModelInfo,
    Outcome,
    Plugin,
    PlugwayError,
    Reply,
    Route,
    StateKey,
    hookimpl,
)
from plugway_endpoints import (
    AGENTS,
    CHOSEN,
    Advises,
    Choice,
    Conversations,
    Endpoint,
    KeepsConversations,
    ReadsLines,
    Served,
    choices_path,
    is_typed,
    line_of,
    match,
    message_of,
    needs_of,
    no_consent,
    turn_of,
)
from plugway_switch import _answers as answers
from plugway_switch._options import SwitchOptions
from plugway_switch._warm import WARM_HEADER, next_request, warm, warm_request
from plugway_switch._wish import Wish, wish_of

ASK_SECONDS: Final = 1.2
"""Time limit for the backends' lists of models; the kernel allows a hook 2 s."""
MAX_NAMES: Final = 512


@dataclass(slots=True)
class _Wished:
    """The findings in one exchange."""

    wish: Wish | None = None
    found: tuple[Endpoint, ...] = ()
    default: bool = False
    choice: Choice | None = None
    """The choice that routes this exchange."""
    why: str = ""
    fresh: bool = True
    """Whether no tool has run since the user typed."""


_WARMING: StateKey[bool] = StateKey("switch.warming")
_WISHED: StateKey[_Wished] = StateKey("switch")


class Switch(Plugin[SwitchOptions]):
    """Serves a conversation with the model that its user asked for, from the next turn on."""

    outside: ClassVar[tuple[str, ...]] = ("router",)

    def __init__(self, options: SwitchOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.conversations = Conversations(choices_path())
        """For other plugins: `plugway_endpoints.KeepsConversations`."""
        self._zones: dict[str, str] = {}
        self._gateway: Gateway | None = None
        self._group: anyio.abc.TaskGroup | None = None
        self._readers: Sequence[tuple[str, ReadsLines]] = ()
        self._names: Bounded[str, tuple[Endpoint, ...]] = Bounded(MAX_NAMES)
        """Endpoints by names of `for this`, so that a loop of tool calls looks them up once."""

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Warn of zones without a backend. They are not an error: such a zone allows nothing, and
        its backend may be disabled for a while."""
        self._zones = dict(zones)
        there = sorted({"local", *zones.values()})
        for zone in self.options.allow_zones:
            if zone != "*" and zone not in there:
                near = get_close_matches(zone, there, n=1)
                known = ", ".join(f"`{name}`" for name in there)
                self.log.warning(
                    "no backend is in the zone `%s` of `allow_zones`, so it has no effect - %s",
                    zone,
                    f"did you mean `{near[0]}`?" if near else f"known zones: {known}",
                )
        return ()

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """Choices are read at startup; warming ends with the gateway."""
        self._gateway = gateway
        return self._live(gateway)

    @asynccontextmanager
    async def _live(self, gateway: Gateway) -> AsyncGenerator[None]:
        self._readers = gateway.find(ReadsLines)
        before = gateway.predecessor
        for _, keeper in before.find(KeepsConversations) if before else ():
            self.conversations = keeper.conversations
        self.conversations.models = ()  # of the previous configuration
        self.conversations.switch = self.name
        self.conversations.allow_zones = frozenset(self.options.allow_zones)
        await self.conversations.choices.load()
        async with anyio.create_task_group() as group:
            self._group = group
            yield
            group.cancel_scope.cancel()

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest | None:
        """Find the wish and the choice; a chosen alias becomes the model that the router sees."""
        if exchange.caller.limited:  # it may neither choose nor see the list of all models
            return None
        if request.header(WARM_HEADER) is not None:
            exchange.state[_WARMING] = True
            return None
        wished = _Wished()
        self._read(wished, request, exchange)
        if wished.wish is not None:
            await self._understand(wished, exchange)
        if wished.choice is None and not wished.default:
            await self._recall(wished, request, exchange)
        if wished.wish is None and wished.choice is None:
            return None
        exchange.state[_WISHED] = wished
        exchange.state[CHOSEN] = wished.choice is not None
        target = wished.choice.target if wished.choice else ""
        if target and not self._is_backend(target) and self._known_alias(target):
            return request.replace(because=wished.why, model=f"anthropic/{target}")
        return None

    @hookimpl
    async def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Confirm a switch in one line, without a model. `explain` never switches."""
        wished = exchange.state.get(_WISHED)
        wish = wished.wish if wished else None
        if wished is None or wish is None:
            return None
        text = await self._said(wished, wish, request, exchange)
        if text is None:
            return None
        last = self.conversations.last(_session(exchange), exchange.agent_id)
        message = message_of(request, text, last)
        if exchange.endpoint == "messages":
            self._warm(wished, request, exchange, text)
        return Reply.message(message)

    @hookimpl
    def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """Route to the chosen backend and model only."""
        wished = exchange.state.get(_WISHED)
        if wished is None or wished.choice is None:
            return None
        target = wished.choice.target
        if self._is_backend(target):
            instance, _, model = target.partition("/")
            return Route(((instance, model),), wished.why)
        if self._known_alias(target):
            return None
        raise InvalidRequest(  # clients do not show the text of a 404
            f"this conversation was switched to `{target}`, which is no longer configured; "
            "`@plugway use default` switches back, `@plugway list` shows what is available",
            retry=False,
            record=True,
        )

    @hookimpl
    def plan_attempts(
        self, attempts: Sequence[Attempt], request: MessagesRequest, exchange: Exchange
    ) -> Sequence[Attempt] | None:
        """Drop attempts outside the zones that the choice has consent for."""
        wished = exchange.state.get(_WISHED)
        if wished is None or wished.choice is None:
            return None
        state = self.conversations
        allowed = {"local", *state.allow_zones, *wished.choice.zones}
        allowed |= state.zones(_session(exchange))
        kept = [a for a in attempts if "*" in allowed or a.backend.zone in allowed]
        if not kept:
            zones = sorted({a.backend.zone for a in attempts})
            message = no_consent(wished.choice.target, zones, self.name)
            raise InvalidRequest(message, retry=False, record=True)
        return kept

    @hookimpl
    async def list_models(self, models: Sequence[ModelInfo], exchange: Exchange) -> None:
        """Remember the models, so that advice needs no request."""
        self.conversations.listed(models, self._zones)

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Remember what served the conversation, except for a limited caller: it can choose
        nothing, and other callers can read what is remembered."""
        if exchange.caller.limited:
            return
        session, served = _session(exchange), exchange.served_by
        if session is None or served is None or exchange.endpoint != "messages":
            return
        if exchange.state.get(_WARMING):
            return
        self.conversations.record(
            Served(
                session,
                exchange.agent_id or "",
                exchange.model_asked,
                served.target,
                served.backend.zone,
                outcome.usage,
                time.monotonic(),
                exchange.state.get(CHOSEN) is True,
                {**exchange.summary(), "outcome": outcome.kind, "seconds": outcome.seconds},
            )
        )

    # ── wishes and choices ───────────────────────────────────────────────────────────────────

    def _read(self, wished: _Wished, request: MessagesRequest, exchange: Exchange) -> None:
        """Read the user's wish, unless it is a line that another plugin reads."""
        if not is_typed(request, exchange):
            return
        turn = turn_of(request.body)
        line = line_of(turn.text) if turn is not None else None
        if line is not None and any(one.reads_line(line) for _, one in self._readers):
            return
        wish = wish_of(turn.text) if turn is not None else None
        if wish is None or turn is None:
            return
        if not (wish.sure and wish.alone) and not turn.clear:
            return
        if not wish.sure and not self.options.sentences:
            return
        # Only `for this` stays in effect through the tool calls of a turn; the rest is remembered.
        if turn.fresh or (wish.verb == "use" and wish.span == "turn"):
            wished.wish, wished.fresh = wish, turn.fresh

    async def _understand(self, wished: _Wished, exchange: Exchange) -> None:
        """Resolve the wish's name; drop the wish if a sentence names nothing known."""
        wish = wished.wish
        assert wish is not None
        if wish.verb != "use":
            await self._refresh()
            return
        cached = self._names.get(wish.name) if wish.span == "turn" else None
        if cached is None:
            await self._refresh()
            found = match(wish.name, self.conversations.endpoints(self._zones))
            wished.found, wished.default = found.found, found.default
        else:
            wished.found = cached
        if not wished.found and not wished.default and not wish.sure:
            wished.wish = None
            return
        if len(wished.found) != 1 or wish.span == "agents":
            return
        only = wished.found[0]
        if wish.span == "turn":
            self._names[wish.name] = wished.found
        elif wish.alone:
            return
        if not self.conversations.refusal(only, _session(exchange)):
            wished.choice = self.conversations.choice(
                only, exchange.model_asked, _session(exchange)
            )
            wished.why = f"the user asked for `{only.id}`"

    async def _recall(self, wished: _Wished, request: MessagesRequest, exchange: Exchange) -> None:
        choice = self.conversations.choices.of(_session(exchange), exchange.agent_id, request.model)
        if choice is not None:
            if not self._is_backend(choice.target) and not self._known_alias(choice.target):
                await self._refresh()
            wished.choice = choice
            wished.why = f"this conversation was switched to `{choice.target}`"

    async def _said(
        self, wished: _Wished, wish: Wish, request: MessagesRequest, exchange: Exchange
    ) -> str | None:
        """The reply to a wish; None if the turn goes on to a model."""
        if not wished.fresh:
            return None
        endpoints = self.conversations.endpoints(self._zones)
        last = self.conversations.last(_session(exchange), exchange.agent_id)
        if wish.verb != "use":
            now, sentence = await self._next(request, exchange)
            if wish.verb == "recommend":
                refusal = partial(self.conversations.refusal, session=_session(exchange))
                assert self._gateway is not None, "exchanges are served only while the gateway runs"
                advisor = next((one for _, one in self._gateway.find(Advises)), None)
                return answers.advice(advisor, request, endpoints, last, now, refusal)
            return answers.listing(endpoints, self._zones, sentence, wish.verb == "help")
        if not wished.found and not wished.default:
            return answers.unknown(wish.name, endpoints, self._zones)
        if len(wished.found) > 1:
            return answers.ambiguous(wish.name, wished.found)
        session = _session(exchange)
        only = wished.found[0] if wished.found else None
        if only is not None and (refusal := self.conversations.refusal(only, _session(exchange))):
            return refusal
        if wish.span == "turn":
            return None
        if session is None:
            return answers.NO_SESSION
        said = await self._set(session, only, wish, request, exchange)
        return said if wish.alone else None

    async def _next(self, request: MessagesRequest, exchange: Exchange) -> tuple[str, str]:
        """The target of the next turn, by choice or by routing, and a sentence about it. Empty if
        there is none."""
        assert self._gateway is not None, "exchanges are served only while the gateway runs"
        try:
            following = next_request(request, exchange.model_asked)
            first, *_ = await self._gateway.plan(following, caller=exchange.caller)
        except PlugwayError as error:
            return "", f"The next turn will fail: {error}."
        return first.target, f"Now: `{first.target}`."

    async def _set(
        self,
        session: str,
        only: Endpoint | None,
        wish: Wish,
        request: MessagesRequest,
        exchange: Exchange,
    ) -> str:
        choices, counts = self.conversations.choices, exchange.endpoint == "messages"
        agent = AGENTS if wish.span == "agents" else ""
        if only is None:
            return answers.back(counts and await choices.clear(session, agent or None))
        model = "" if agent else exchange.model_asked
        if counts:
            await choices.set(session, agent, self.conversations.choice(only, model, session))
        last = self.conversations.last(session, exchange.agent_id)
        size = last.prompt_tokens if last and last.prompt_tokens else needs_of(request).tokens
        return answers.switched(only, bool(agent), size)

    # ── what is allowed ──────────────────────────────────────────────────────────────────────

    def _is_backend(self, target: str) -> bool:
        instance, _, model = target.partition("/")
        return bool(model) and instance in self._zones

    def _known_alias(self, target: str) -> bool:
        return any(info.id == f"anthropic/{target}" for info in self.conversations.models)

    async def _refresh(self) -> None:
        """Refresh the list of models; the last known ones stay if that takes too long."""
        if self._gateway is not None:
            with anyio.move_on_after(ASK_SECONDS):
                self.conversations.models = tuple(await self._gateway.models())

    # ── warming ──────────────────────────────────────────────────────────────────────────────

    def _warm(
        self, wished: _Wished, request: MessagesRequest, exchange: Exchange, said: str
    ) -> None:
        only = wished.found[0] if len(wished.found) == 1 else None
        gateway, group = self._gateway, self._group
        if not self.options.warm or only is None or only.zone != "local":
            return
        choice = self.conversations.choices.of(_session(exchange), exchange.agent_id, request.model)
        if gateway is None or group is None or choice is None or choice.target != only.id:
            return
        following = warm_request(request, f"anthropic/{only.id}", said)
        group.start_soon(warm, gateway, following, exchange.caller, self.log)


def _session(exchange: Exchange) -> str | None:
    session = exchange.session_id
    return session if session and len(session) <= 200 else None
