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
        """Called once at load. Returns Starlette routes that are served behind the guard. They take
        precedence over the kernel's own routes, except those of exchanges. Bodies are read
        beforehand, within the limits of `server`; an exception becomes a gateway error. Callers
        with a limited token can reach only routes with the attribute `limited_callers = True`."""

    @_hook("COLLECT")
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object] | None:
        """Called once at load. Returns a context manager, entered before the first exchange and
        exited after the last one. Open and close the plugin's resources in it."""

    @_hook("FIRST", fails="open")
    async def identify(self, request: MessagesRequest, exchange: Exchange) -> Identity | None:
        """Called once per exchange, before all others. Returns the conversation and the subagent
        that the client names in its own way, or None. If every plugin returns None, the header
        `…-session-id` counts, together with `…-agent-id` and `…-parent-agent-id`."""

    @_hook("CHAIN")
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest | None:
        """Called once per exchange, before routing. Returns a changed request
        (`request.replace(..., because=...)`, or `request.without(names, because=...)` if a client
        chose the names), or None to leave it unchanged."""

    @_hook("FIRST", limit_seconds=None)
    async def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Called once per exchange, before routing. Returns a reply to answer without a backend,
        or None. Raise `RequestRejected` to reject the request. `explain` calls it, too: change
        nothing unless `exchange.endpoint` is "messages"."""

    @_hook("FIRST")
    async def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """Called once per exchange. Returns the targets in fallback order and the reason, or None
        to leave it to the next plugin. For an unknown model, raise `NoRoute` and list the known
        ones."""

    @_hook("CHAIN")
    async def plan_attempts(
        self, attempts: Sequence[Attempt], request: MessagesRequest, exchange: Exchange
    ) -> Sequence[Attempt] | None:
        """Called once per exchange, after routing. Returns the attempts to make, in order."""

    @_hook("CHAIN")
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Called before each attempt, always with the result of `transform_request`, never with
        that of another attempt. Returns the request adapted to that backend."""

    @_hook("AROUND", limit_seconds=None)
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Called for each attempt. Calls `send` any number of times and returns its reply. Changes
        to the request that it sends (`request.replace(..., because=...)`) are on the receipt.
        `explain` does not call this hook.

        `send` returns at the first content event; before that, it may raise `BackendError`.
        """
        raise AssertionError("a contract, never called")

    @_hook("FIRST", fails="open")
    async def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """Called for the failure that is reported to the client. Returns the status and body to
        send, or None for the kernel's own rendering."""

    @_hook("CHAIN", fails="open", inward=False)
    async def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """Called before the first byte goes to the client. Returns a changed reply, or None.

        Also called for replies to `count_tokens` (`exchange.endpoint`), including the 404 of a
        backend that cannot count, which has a line of the stage `count` on the receipt.
        """

    @_hook("CHAIN", fails="open", inward=False)
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """Called for each reply to a streaming request. Returns a stream that wraps `stream`, or
        None to add no layer. An exchange without layers is relayed byte for byte.

        A layer that changes something records it with `exchange.note`; the layer alone does not
        count as a change. It does not close the stream it was given: the kernel closes every
        layer.
        """

    @_hook("CHAIN", fails="open", limit_seconds=None)
    async def list_models(
        self, models: Sequence[ModelInfo], exchange: Exchange
    ) -> Sequence[ModelInfo] | None:
        """Called for `GET /v1/models` with `instance/model` ids. Returns the list to show."""

    @_hook("NOTIFY", fails="open")
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Called exactly once per exchange, after its last byte. `exchange.caller.name` is the
        caller's name, as in logs and receipts."""


def hook_infos() -> dict[str, HookInfo]:
    """Every hook by name, with how it is run."""
    found = {name: getattr(spec, "plugway_hook", None) for name, spec in vars(Hookspecs).items()}
    return {name: info for name, info in found.items() if info is not None}
