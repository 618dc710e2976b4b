"""State of conversations: their choices, what served them, and the zones they may enter.

One plugin keeps it and another gives advice; other plugins find both through the gateway by the
protocols `KeepsConversations` and `Advises`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import anyio
import platformdirs

from plugway import Bounded, Gateway, ModelInfo, StateKey, Usage
from plugway_endpoints._choices import Choice, Choices
from plugway_endpoints._names import Endpoint, endpoints_of
from plugway_endpoints._needs import Needs
from plugway_endpoints._topics import KEPT_SECONDS, Topic, topic_of

MAX_CONVERSATIONS: Final = 256
MAX_ZONES: Final = 4096
CHOSEN: StateKey[bool] = StateKey("endpoints.chosen")
"""Set by `switch` in exchanges that a choice routes instead of the configuration."""


@dataclass(frozen=True, slots=True)
class Served:
    """The last exchange of a conversation that a backend answered."""

    session: str
    agent: str
    """Agent id; empty for the main conversation."""
    model: str
    """Model id that the client requested."""
    target: str
    zone: str
    usage: Usage = Usage()
    at: float = 0.0
    """Value of `time.monotonic()` at its end."""
    chosen: bool = False
    """Whether a choice routed it instead of the configuration."""
    summary: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """The receipt as `Exchange.summary` returns it, with the outcome."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of its prompt, as the server counted them."""
        usage = self.usage
        return usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommended endpoint, and the reason in one sentence."""

    endpoint: Endpoint | None
    reason: str
    others: tuple[str, ...] = ()
    """A line for each other endpoint: its expected time and cost, or why it does not fit."""


@runtime_checkable
class TellsCosts(Protocol):
    """A plugin that knows what exchanges cost: `Gateway.find(TellsCosts)`."""

    def cost(self, target: str, usage: Usage) -> float | None:
        """Cost of an exchange in US dollars; None if no price is known."""
        ...


@runtime_checkable
class Advises(TellsCosts, Protocol):
    """A plugin that recommends endpoints: `Gateway.find(Advises)`."""

    def advise(self, needs: Needs, endpoints: Sequence[Endpoint], now: str = "") -> Advice:
        """The best endpoint for a conversation; `now` is the target that serves it."""
        ...

    def facts(self, target: str) -> Mapping[str, Any]:
        """Measurements of a target: speeds in tokens/s, failures."""
        ...


class Conversations:
    """Conversations of one gateway, bounded: the least recently served are dropped first."""

    def __init__(self, path: Path | None = None) -> None:
        """`path` is the file of the choices; None keeps them in memory only."""
        self.choices = Choices(path)
        self.models: tuple[ModelInfo, ...] = ()
        """The models that clients were last shown."""
        self.switch = ""
        """Name of the plugin that routes by the choices; empty if none is configured."""
        self.allow_zones: frozenset[str] = frozenset()
        """Zones that every conversation may enter by configuration; `*` for all."""
        self._served: Bounded[tuple[str, str], Served] = Bounded(MAX_CONVERSATIONS)
        self._zones: Bounded[str, frozenset[str]] = Bounded(MAX_ZONES)
        self._zones_topic: Topic | None = None

    def endpoints(self, zones: Mapping[str, str]) -> tuple[Endpoint, ...]:
        """The endpoints that are known, without sending a request."""
        return endpoints_of(self.models, zones)

    def listed(self, models: Sequence[ModelInfo], zones: Mapping[str, str]) -> None:
        """Remember the models that clients are shown. Known aliases are kept, because the router
        may add aliases to the list after this call."""
        ids = {info.id for info in models}
        gone = [info for info in self.models if info.id not in ids]
        self.models = (*models, *(e.info for e in endpoints_of(gone, zones) if e.alias))

    def record(self, served: Served) -> None:
        """Remember the last exchange of a conversation."""
        key = (served.session, served.agent)
        before = self._served.get(key)
        if before is not None and not served.prompt_tokens:
            served = replace(served, usage=before.usage)
        self._served[key] = served
        zones = self.zones(served.session)
        self._zones[served.session] = zones | {served.zone}
        if served.zone not in zones and self._zones_topic is not None:
            self._zones_topic.put(served.session, sorted(zones | {served.zone}), KEPT_SECONDS)

    @asynccontextmanager
    async def shared(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Share choices and zones with other gateways by `store`, if it is configured."""
        async with (
            topic_of(gateway, "zones", self._receive_zones) as self._zones_topic,
            topic_of(gateway, "choices", self.choices.receive) as topic,
            anyio.create_task_group() as tasks,
        ):
            if topic is not None:
                tasks.start_soon(self.choices.share, topic)
            yield
            tasks.cancel_scope.cancel()

    def _receive_zones(self, session: str, value: Any, seconds: float) -> None:
        """Another gateway has served a conversation in these zones."""
        self._zones[session] = self.zones(session) | {str(zone) for zone in value}

    def last(self, session: str | None, agent: str | None) -> Served | None:
        """The last exchange of a conversation."""
        return self._served.get((session or "", agent or ""))

    def recent(self, since: float) -> list[Served]:
        """Conversations with an exchange after `since` (`time.monotonic()`), the newest first."""
        return [served for served in reversed(self._served.values()) if served.at >= since]

    def refusal(self, endpoint: Endpoint, session: str | None, *zones: str) -> str:
        """Why a conversation may not go to an endpoint; empty if it may.

        `zones` are zones that it has been in besides the remembered ones. For an alias, the zones
        of its targets are checked when it is used.
        """
        allowed = {"local", *self.allow_zones, *self.zones(session), *zones}
        if endpoint.alias or "*" in allowed or endpoint.zone in allowed:
            return ""
        return no_consent(endpoint.id, [endpoint.zone], self.switch)

    def choice(self, endpoint: Endpoint, model: str, session: str | None, *zones: str) -> Choice:
        """The choice of an endpoint for requests for `model`, with the current zones."""
        known = {*self.zones(session), *zones, endpoint.zone} - {""}
        return Choice(endpoint.id, model, tuple(sorted(known)), time.time())

    def zones(self, session: str | None) -> frozenset[str]:
        """The zones that a session has been served in."""
        return self._zones.get(session or "", frozenset())


def no_consent(target: str, zones: Sequence[str], plugin: str) -> str:
    """The message about zones that a conversation may not enter."""
    listed = ", ".join(zones)
    return (
        f"`{target}` would send this conversation to the zone `{listed}`, new to it. "
        f"Nothing was switched: to consent, add `allow_zones: [{listed}]` to the options of "
        f"`{plugin}`, or choose that model in the client."
    )


@runtime_checkable
class KeepsConversations(Protocol):
    """The plugin that keeps conversations and routes by their choices:
    `Gateway.find(KeepsConversations)`."""

    @property
    def conversations(self) -> Conversations:
        """The conversations; the same object after a configuration reload."""
        ...


def choices_path() -> Path:
    """Path of the file that keeps choices across restarts."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "conversations.db"
