"""One exchange: its caller, route, attempts, receipt and outcome.

It is the only mutable object that hooks get. The kernel writes the named fields; plugins write
`state` and call `note`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

from plugway.types.backend import Backend, Caller, Usage
from plugway.types.request import MessagesRequest
from plugway_wire.ids import new_id

log = logging.getLogger("plugway.exchange")

T = TypeVar("T")

OutcomeKind = Literal["completed", "rejected", "failed", "disconnected"]

Endpoint = Literal["messages", "count_tokens", "explain"]

EXPLAIN: Final = "/explain"
"""Suffix of the path of a request that is only explained, also for dialects."""

EXCHANGES: Mapping[str, Endpoint] = {
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
    "/v1/messages/explain": "explain",
}
"""The kernel's paths of exchanges; dialects have their own."""


@dataclass(frozen=True, slots=True, eq=False)
class StateKey(Generic[T]):
    """A plugin's typed key for `Exchange.state`, equal only to itself."""

    name: str


class State:
    """Per-exchange data of plugins, by typed key."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[StateKey[Any], Any] = {}

    def __getitem__(self, key: StateKey[T]) -> T:
        return self._values[key]

    def __setitem__(self, key: StateKey[T], value: T) -> None:
        self._values[key] = value

    def get(self, key: StateKey[T], default: T | None = None) -> T | None:
        """The value, or `default`."""
        return self._values.get(key, default)


class Identity(NamedTuple):
    """The conversation of a request according to the client; None for what it does not send."""

    session_id: str | None = None
    agent_id: str | None = None
    """The subagent, or None for the main conversation."""
    parent_agent_id: str | None = None


class Route(NamedTuple):
    """The targets of an exchange in fallback order, and the reason."""

    targets: tuple[tuple[str, str], ...]
    """(backend instance, model) pairs; the first is tried first."""
    reason: str


class ReceiptEntry(NamedTuple):
    """One entry of the receipt."""

    stage: str
    """The hook or step, such as `transform_request` or `attempt 2`."""
    plugin: str
    what: str


_NO_CHANGES: Final = frozenset(("route", "layer"))
"""Stages whose entries are not changes to the request or reply."""


class AttemptRecord(NamedTuple):
    """The result of one attempt."""

    target: str
    result: str
    """`answered`, or a short description of the failure."""
    seconds: float


class Outcome(NamedTuple):
    """How an exchange ended; passed to `finished`."""

    kind: OutcomeKind
    status: int
    seconds: float
    first_content_seconds: float | None = None
    usage: Usage = Usage()
    stop_reason: str | None = None
    error: str = ""


class Exchange:
    """One request and its reply."""

    __slots__ = (
        "agent_id",
        "attempts",
        "caller",
        "client",
        "endpoint",
        "id",
        "model_asked",
        "on_leave",
        "parent_agent_id",
        "receipt",
        "route",
        "served_by",
        "session_id",
        "started",
        "state",
    )

    def __init__(
        self,
        request: MessagesRequest,
        *,
        id: str | None = None,
        caller: Caller | None = None,
        endpoint: Endpoint = "messages",
    ) -> None:
        self.id = id or new_id("req")
        """The `request-id` of the reply."""
        self.started = time.monotonic()
        self.endpoint = endpoint
        self.caller = caller or Caller()
        self.client = request.named.get("user-agent") or ""
        self.identify(_claimed(request.named))
        self.model_asked = request.model
        self.route: Route | None = None
        self.attempts: list[AttemptRecord] = []
        self.served_by: Attempt | None = None
        self.receipt: list[ReceiptEntry] = []
        self.state = State()
        self.on_leave: Callable[[Callable[[], None]], bool] | None = None
        """Called when the client disconnects, with a function that stops the work. Return True to
        continue the work, for a client that may retry, and call that function later."""

    def identify(self, who: Identity) -> None:
        """Set the conversation that the client claims. For limited callers `session_id` gets the
        caller's name as a prefix, so that they cannot claim other callers' conversations."""
        self.session_id = _session(who.session_id, self.caller)
        self.agent_id, self.parent_agent_id = who.agent_id, who.parent_agent_id

    def keeps_running(self, stop: Callable[[], None]) -> bool:
        """Whether a plugin continues the work after the client disconnected; see `on_leave`."""
        try:
            return self.on_leave is not None and self.on_leave(stop)
        except BaseException:  # a plugin's own code, called by the client's connection
            log.exception("a plugin failed when a client left")
            return False

    def note(self, plugin: str, what: str, *, stage: str = "note") -> None:
        """Add an entry to the receipt: something that was changed, dropped or decided, and why."""
        self.receipt.append(ReceiptEntry(stage, plugin, what))

    def note_once(self, plugin: str, lines: Iterable[str], *, stage: str) -> None:
        """Add the entries that are not on the receipt yet, as after a retry."""
        for what in lines:
            if (stage, plugin, what) not in self.receipt:
                self.note(plugin, what, stage=stage)

    @property
    def seconds(self) -> float:
        """Time since the request arrived."""
        return time.monotonic() - self.started

    @property
    def answers(self) -> int:
        """How many attempts brought a reply. 0 of an exchange with a reply if a plugin took that
        from elsewhere, such as from another exchange: it used no tokens itself."""
        return sum([record.result == "answered" for record in self.attempts])

    def receipt_header(self) -> str:
        """The receipt as a header value: the target and the number of changes."""
        parts: list[str] = []
        if self.served_by is not None:
            parts.append(f"served-by={self.served_by.target}; zone={self.served_by.backend.zone}")
        plugins = [entry.plugin for entry in self.receipt if entry.stage not in _NO_CHANGES]
        parts.append(f"attempts={len(self.attempts)}; changes={len(plugins)}")
        if plugins:
            parts.append("by=" + ",".join(dict.fromkeys(plugins)))
        return header_text("; ".join(parts))

    def summary(self) -> Mapping[str, Any]:
        """The receipt as JSON-ready data, for `explain` and the log."""
        return {
            "request_id": self.id,
            "caller": self.caller.name,
            "session_id": self.session_id,
            "agent_id": self.agent_id,
            "model_asked": self.model_asked,
            "route": None
            if self.route is None
            else {
                "targets": [f"{name}/{model}" for name, model in self.route.targets],
                "reason": self.route.reason,
            },
            "attempts": [
                {"target": a.target, "result": a.result, "ms": round(a.seconds * 1000, 1)}
                for a in self.attempts
            ],
            "receipt": [
                {"stage": e.stage, "plugin": e.plugin, "what": e.what} for e in self.receipt
            ],
        }


_LINES: Final = ("session-id", "agent-id", "parent-agent-id")


def _claimed(named: Mapping[str, str]) -> Identity:
    """The identity in a client's headers: `…-session-id`, `…-agent-id`, `…-parent-agent-id`."""
    return Identity(*map(named.get, _names_of_claims(tuple(named))))


@lru_cache(maxsize=32)  # clients send the same headers with every request
def _names_of_claims(named: tuple[str, ...]) -> tuple[str, ...]:
    claims = [name for name in named if name.endswith(_LINES)]
    for last in _LINES[:2]:
        for name in claims:
            family = name.removesuffix(last)
            if family != name and not family.endswith("parent-"):
                return tuple(family + line for line in _LINES)
    return ()


def _session(claimed: str | None, caller: Caller) -> str | None:
    """The session id, with a prefix where it could be that of another caller."""
    if claimed is None or not (caller.limited or "/" in claimed):
        return claimed
    return f"{caller.share}/{claimed}"


def header_text(text: str) -> str:
    """`text` as a header value: printable ASCII, with `?` for other characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text)


_FIELDS: Final = ("backend", "model", "number", "first_event_seconds", "last", "exchange")


class Attempt:
    """One attempt of an exchange on one backend and model. Immutable; `replace` makes a copy."""

    __slots__ = ("target", *_FIELDS)

    def __init__(
        self,
        backend: Backend,
        model: str,
        number: int = 1,
        first_event_seconds: float | None = None,
        last: bool = True,
        exchange: Exchange | None = None,
    ) -> None:
        self.backend = backend
        self.model = model
        """The backend's own name of the model."""
        self.target = f"{backend.name}/{model}"
        """`instance/model`, as in routes, logs and errors."""
        self.number = number
        """1 for the first attempt of the exchange."""
        self.first_event_seconds = first_event_seconds
        """Time limit for the first content event; None for no limit."""
        self.last = last
        """No other target is left after this one."""
        self.exchange = exchange or Exchange(MessagesRequest(b"{}"))
        """The exchange, with its caller, conversation, subagent and receipt. A backend must keep
        data of a conversation by `session_id` and share it only within `caller.share`. By default,
        as in tests, an empty exchange of the owner."""

    def note(self, *lines: str) -> None:
        """Record on the receipt how the backend changed the request for its own API. Lines that are
        there already, as after a retry, are not added again."""
        self.exchange.note_once(self.backend.name, lines, stage="send")

    def replace(self, **changes: Any) -> Attempt:
        """A copy with some fields changed."""
        return Attempt(**({name: getattr(self, name) for name in _FIELDS} | changes))
