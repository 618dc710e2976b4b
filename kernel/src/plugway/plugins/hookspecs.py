"""The contract of every hook: when it is called, with what, and what its answer means.

How each kind of hook is run belongs to `plugins/hooks`. `docs/hooks.md` is generated from this
file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

import pluggy
from starlette.routing import BaseRoute

from plugway.plugins.gateway import Gateway
from plugway.types.attempt import Attempt
from plugway.types.backend import Backend, ModelInfo
from plugway.types.dialect import Dialect
from plugway.types.errors import BackendError
from plugway.types.events import EventStream
from plugway.types.exchange import Exchange, Identity, Outcome, Route
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply

Kind = Literal["COLLECT", "FIRST", "CHAIN", "AROUND", "NOTIFY"]

PROJECT: Final = "plugway"
REPLY_HOOKS: Final = ("transform_response", "transform_stream")
"""Hooks that change what a client gets."""
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method of a plugin as the implementation of the hook it is named after."""
_hookspec = pluggy.HookspecMarker(PROJECT)

_F = TypeVar("_F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class HookInfo:
    """How a hook is run."""

    kind: Kind
    fails: Literal["open", "closed"]
    """What an implementation that raises or hangs means: the exchange goes on without it, or it
    ends with an error that names the plugin."""
    inward: bool
    """Listed order on the way in; False for hooks on the way out, which run in reverse."""
    limit_seconds: float | None
    """How long an implementation may wait; None where waiting is its job."""


def _hook(
    kind: Kind,
    *,
    fails: Literal["open", "closed"] = "closed",
    inward: bool = True,
    limit_seconds: float | None = 2.0,
) -> Callable[[_F], _F]:
    def mark(function: _F) -> _F:
        setattr(function, "plugway_hook", HookInfo(kind, fails, inward, limit_seconds))  # noqa: B010
        return _hookspec(function)

    return mark


class Send(Protocol):
    """What `around_attempt` calls to make the attempt; it may be called any number of times."""

    def __call__(self, request: MessagesRequest, attempt: Attempt) -> Awaitable[Reply]:
        """Raises `BackendError` where the attempt fails before its first content event."""
        ...


class Hookspecs:
    """Every hook, in the order in which an exchange meets them."""

    @_hook("COLLECT")
    def register_backends(self) -> Sequence[Backend] | None:
        """Called once at load. Returns the backends of this instance, usually one."""

    @_hook("COLLECT")
    def register_dialects(self) -> Sequence[Dialect] | None:
        """Called once at load. Returns other APIs that clients may speak to every backend."""

    @_hook("COLLECT")
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute] | None:
        """Called once at load. Returns HTTP routes of Starlette that are served behind the guard,
        before the kernel's own but for those of exchanges. Bodies are read before, within the
        limits of `server`; what a route raises is told as the gateway tells its own failures.
        Callers with a limited token reach those alone that have an attribute
        `limited_callers = True`."""

    @_hook("COLLECT")
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object] | None:
        """Called once at load. Returns a context that is entered before the first exchange and
        left after the last one: the place to open and close what the plugin owns."""

    @_hook("FIRST", fails="open")
    async def identify(self, request: MessagesRequest, exchange: Exchange) -> Identity | None:
        """Called once per exchange, before all others. Returns the conversation and the subagent
        that a client names in a way of its own, or None. Where nobody answers, a header line
        `…-session-id` counts, with `…-agent-id` and `…-parent-agent-id` beside it."""

    @_hook("CHAIN")
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest | None:
        """Called once per exchange, before routing. Returns a changed request
        (`request.replace(..., because=...)`, or `request.without(names, because=...)` if a client
        chose the names), or None to leave it."""

    @_hook("FIRST", limit_seconds=None)
    async def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Called once per exchange, before routing. Returns a reply to answer without a backend,
        or None. Raise `RequestRejected` to refuse. `explain` asks too, and changes nothing:
        `exchange.endpoint` is "messages" where the answer counts."""

    @_hook("FIRST")
    async def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """Called once per exchange. Returns the targets in fallback order and the reason, or None
        to leave it to the next plugin. Raise `NoRoute` with what exists for an unknown model."""

    @_hook("CHAIN")
    async def plan_attempts(
        self, attempts: Sequence[Attempt], request: MessagesRequest, exchange: Exchange
    ) -> Sequence[Attempt] | None:
        """Called once per exchange, after routing. Returns the attempts to make, in order."""

    @_hook("CHAIN")
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Called before each attempt, always with the request of `transform_request`, never with
        what another attempt made of it. Returns the request adapted to that backend."""

    @_hook("AROUND", limit_seconds=None)
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Called for each attempt. Calls `send` any number of times and returns its reply. What it
        changes in the request that it sends (`request.replace(..., because=...)`) is on the
        receipt; `explain` does not call it.

        `send` returns when the first content event is there; it raises `BackendError` before that.
        """
        raise AssertionError("a contract, never called")

    @_hook("FIRST", fails="open")
    async def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """Called for the failure that the client is told. Returns the status and body it sees, or
        None for the kernel's own rendering."""

    @_hook("CHAIN", fails="open", inward=False)
    async def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """Called before the first byte goes to the client. Returns a changed reply, or None.

        Answers to `count_tokens` come by too (`exchange.endpoint`), also the 404 of a backend that
        cannot count, of which the receipt has a line of the stage `count`.
        """

    @_hook("CHAIN", fails="open", inward=False)
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """Called for each reply to a request for a stream. Returns a stream that wraps `stream`,
        or None to add no layer: an exchange without layers is relayed byte for byte.

        A layer that changes something says so with `exchange.note`: the layer alone does not count
        as a change.

        A layer does not close the stream it was given; the kernel closes every layer.
        """

    @_hook("CHAIN", fails="open", limit_seconds=None)
    async def list_models(
        self, models: Sequence[ModelInfo], exchange: Exchange
    ) -> Sequence[ModelInfo] | None:
        """Called for `GET /v1/models` with `instance/model` ids. Returns the list to show."""

    @_hook("NOTIFY", fails="open")
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Called exactly once per exchange, after its last byte. `exchange.caller.name` says who
        asked, as logs and receipts do."""


def hook_infos() -> dict[str, HookInfo]:
    """Every hook by name, with how it is run."""
    found = {name: getattr(spec, "plugway_hook", None) for name, spec in vars(Hookspecs).items()}
    return {name: info for name, info in found.items() if info is not None}
