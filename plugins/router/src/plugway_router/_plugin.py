"""The plugin: looks up the targets of a request; if there are none, lists what exists.

The table checks the consent to another zone, not `plan_attempts`: if another plugin skips targets
there, a target without consent must not become the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from plugway import (
    Attempt,
    Exchange,
    Gateway,
    MessagesRequest,
    ModelInfo,
    NoRoute,
    Plugin,
    Route,
    hookimpl,
)
from plugway_endpoints import KEPT_SECONDS, Topic, topic_of
from plugway_router._facts import Facts
from plugway_router._options import RouterOptions
from plugway_router._sessions import Home, Sessions
from plugway_router._table import Row, Table
from plugway_router._targets import Flaw, flaws_of, listed, named_backend

MAX_KNOWN_MODELS = 1000
"""Maximum number of model ids that are remembered for suggestions."""


class Router(Plugin[RouterOptions]):
    """Sends each request to a backend and model, with fallbacks."""

    def __init__(self, options: RouterOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._table: Table | None = None
        self._known: tuple[str, ...] = ()
        """Model ids that were last listed, for suggestions."""
        self._sessions: defaultdict[str, Sessions] = defaultdict(Sessions)
        """By caller (`Caller.share`), so that one caller's sessions cannot evict another's."""
        self._topic: Topic | None = None

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Check the options and, if they are valid, build the table. Reports unknown targets,
        circular aliases and so on."""
        flaws = flaws_of(self.options, zones)
        if not flaws:
            self._table = Table(self.options, zones)
            for row in self._table.rows():
                for reason in row.left_out:
                    self.log.warning("%s", reason)
        return flaws

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Where conversations go is shared with other gateways by `store`."""
        if self._table is None or self._table.is_one_zone:
            yield
            return
        async with topic_of(gateway, f"{self.name} homes", self._learn) as self._topic:
            yield

    def _learn(self, name: str, value: Any, seconds: float) -> None:
        """Another gateway is about to send a turn of a conversation somewhere."""
        share, _, session = name.rpartition("\n")
        instance, model = map(str, value["target"])
        home = Home((instance, model), frozenset(map(str, value["zones"])))
        self._sessions[share].remember(session, home)

    @hookimpl
    async def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """The targets of the matching row; None for an id that names its backend.

        Raises:
            NoRoute: no row matches.
        """
        table = self._table
        assert table is not None, "the kernel checks options before the first exchange"
        asked = request.model
        alias = self._alias_of(asked)
        if alias is None and named_backend(asked, table.zones):
            return None
        row = table.find(alias or asked, Facts(request), exchange)
        if row is not None:
            route = self._route(row, alias or asked, exchange)
            if table.is_one_zone:
                return route
            return await self._at_home(route, row, request, exchange) or route
        if not self.options.models and len(table.zones) == 1:
            return None
        raise NoRoute(self._nothing_serves(asked, table), retry=False, record=True)

    @hookimpl
    def plan_attempts(
        self, attempts: Sequence[Attempt], request: MessagesRequest, exchange: Exchange
    ) -> None:
        """Remember where a session's conversation goes."""
        session = exchange.session_id
        if self._table is None or self._table.is_one_zone or session is None or not attempts:
            return
        if not _is_conversation(request, exchange):
            return
        share = exchange.caller.share
        home = self._sessions[share].record(session, attempts)
        if home is not None and self._topic is not None:
            value = {"target": home.target, "zones": sorted(home.zones)}
            self._topic.put(f"{share}\n{session}", value, KEPT_SECONDS)

    @hookimpl
    async def list_models(
        self, models: Sequence[ModelInfo], exchange: Exchange
    ) -> Sequence[ModelInfo]:
        """Aliases first, then all models. Targets that the table names are marked with
        `extra["routed"]`, and added if their backend does not list them.
        """
        self._known = tuple(info.id for info in models[:MAX_KNOWN_MODELS])
        if self._table is None:
            return models
        infos = {info.id: info for info in models}
        for id_ in self._table.named():
            info = infos.get(id_) or ModelInfo(id_)
            infos[id_] = replace(info, extra={**info.extra, "routed": True})
        aliases = self._table.aliases.items()
        return [*(self._listed(name, row, infos) for name, row in aliases), *infos.values()]

    def _alias_of(self, asked: str) -> str | None:
        """The alias in `anthropic/router/NAME`, as `list_models` shows it; None for other ids."""
        own, _, alias = asked.removeprefix("anthropic/").partition("/")
        return alias if own == self.name and alias in self.options.aliases else None

    def _route(self, row: Row, model: str, exchange: Exchange) -> Route:
        for reason in row.left_out:
            exchange.note(self.name, reason, stage="route")
        return Route(row.named(model), row.name)

    async def _at_home(
        self, route: Route, row: Row, request: MessagesRequest, exchange: Exchange
    ) -> Route | None:
        """The conversation's own target, if `route` would send another request of its client to a
        zone that the conversation may not enter; otherwise None."""
        session, table = exchange.session_id, self._table
        assert table is not None
        zone = table.zones[route.targets[0][0]]
        if session is None or zone == "local" or row.consent:
            return None
        if _is_conversation(request, exchange):
            return None
        home = await self._sessions[exchange.caller.share].home(session)
        if home is None or zone in home.zones or home.target[0] not in table.zones:
            return None
        if not home.is_local and row is not table.exact.get("*"):
            return None  # a route in the configuration is consent enough between two vendors
        reason = (
            f"its conversation uses `{'/'.join(home.target)}`; {row.name} would send parts of "
            f"it to the zone `{zone}`, which needs `allow_zone_change: true`"
        )
        return Route((home.target,), reason)

    def _listed(self, alias: str, row: Row, infos: Mapping[str, ModelInfo]) -> ModelInfo:
        ids = [f"anthropic/{name}/{model}" for name, model in row.named(alias)]
        known = [infos[id_] for id_ in ids if id_ in infos]
        first = ids[0].removeprefix("anthropic/")
        return ModelInfo(
            id=f"anthropic/{self.name}/{alias}",
            display_name=f"{alias} ({first})",
            context_tokens=_smallest([info.context_tokens for info in known]),
            max_output_tokens=_smallest([info.max_output_tokens for info in known]),
            state=known[0].state if known else "unknown",
            capabilities=frozenset[str].intersection(*(i.capabilities for i in known))
            if known
            else frozenset(),
        )

    # ── no target ────────────────────────────────────────────────────────────────────────────

    def _nothing_serves(self, asked: str, table: Table) -> str:
        """Starts with `model: X` as the Anthropic API does, then similar names and what exists."""
        close = self._close_to(asked, table)
        exists = [
            f"{what} {listed(names)}"
            for what, names in (("aliases", table.aliases), ("models", table.exact))
            if names
        ]
        exists += [f"`anthropic/{name}/MODEL`" for name in table.zones] or ["no backend"]
        hint = f" - did you mean {close}?" if close else "."
        return (
            f"model: {asked}. The router has no target for it{hint} There are {', '.join(exists)}"
        )

    def _close_to(self, asked: str, table: Table) -> str:
        """Names similar to the requested one, compared by backend, by alias and as a whole."""
        name, _, rest = asked.removeprefix("anthropic/").partition("/")
        backends = get_close_matches(name, list(table.zones), n=1) if rest else []
        if backends:
            return f"`anthropic/{backends[0]}/{rest}`"
        words = {name: name for name in (*table.aliases, *table.exact)}
        for known in self._known:
            target = known.removeprefix("anthropic/")
            words |= {known: known, target: known, target.partition("/")[2]: known}
        close = get_close_matches(rest if name == self.name else asked, words, n=3)
        return " or ".join(dict.fromkeys(f"`{words[word]}`" for word in close))


def _is_conversation(request: MessagesRequest, exchange: Exchange) -> bool:
    """Whether it is a turn of the session's main conversation, whose model its user chooses: not a
    subagent's, and not a side request of the client, which offers no tools."""
    return exchange.agent_id is None and request.offers_tools


def _smallest(sizes: Sequence[int]) -> int:
    """The smallest known size; 0 if none is known."""
    return min((size for size in sizes if size), default=0)
