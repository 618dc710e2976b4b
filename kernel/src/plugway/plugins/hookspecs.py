"""The specification of every hook: when it is called, its arguments, and what its result means.

`plugins/hooks` calls the hooks. `docs/hooks.md` is generated from this file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

import pluggy
from starlette.routing import BaseRoute

from plugway.plugins.gateway import Gateway
from plugway.types.backend import Backend, Caller, ModelInfo
from plugway.types.dialect import Dialect
from plugway.types.exchange import Attempt, Exchange, Identity, Outcome, Route
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_wire.errors import BackendError
from plugway_wire.events import EventStream

Kind = Literal["COLLECT", "FIRST", "CHAIN", "AROUND", "NOTIFY"]

PROJECT: Final = "plugway"
REPLY_HOOKS: Final = ("transform_response", "transform_stream")
"""Hooks that change the client's reply."""
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method of a plugin as the implementation of the hook it is named after."""
_hookspec = pluggy.HookspecMarker(PROJECT)

_F = TypeVar("_F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class HookInfo:
    """How a hook is called."""

    kind: Kind
    fails: Literal["open", "closed"]
    """Whether the exchange continues (`open`) or ends with an error that names the plugin
    (`closed`) if an implementation raises or hangs."""
    inward: bool
    """Called in listed order; False for hooks on replies, which are called in reverse."""
    limit_seconds: float | None
    """Time limit of an implementation; None if it may wait for other services."""


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
    """Makes the attempt; `around_attempt` may call it any number of times."""

    def __call__(self, request: MessagesRequest, attempt: Attempt) -> Awaitable[Reply]:
        """Raises `BackendError` if the attempt fails before its first content event."""
        ...


class Hookspecs:
    """Every hook, in the order in which an exchange calls them."""

    @_hook("COLLECT")
    def register_backends(self) -> Sequence[Backend] | None:
        """Called once at load. Returns the backends of this instance, usually one."""

    @_hook("COLLECT")
    def register_dialects(self) -> Sequence[Dialect] | None:
        """Called once at load. Returns other APIs that clients may speak to every backend."""

    @_hook("COLLECT")
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute] | None:
        """Called once at load. Returns Starlette routes. They are served behind the guard and take
        precedence over the kernel's routes, except those of exchanges. Bodies are read first,
        within the limits of `server`; exceptions become error responses like those of the gateway.
        Callers with a limited token can only use routes with an attribute
        `limited_callers = True`. With `public = True` the exact path of the route needs no token,
        and takes forms and cookies. Its `accepts` names media types of bodies besides JSON, such as
        `("multipart/form-data",)`. With `last = True` it is tried after all other routes."""

    @_hook("COLLECT")
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object] | None:
        """Called once at load. Returns a context that is entered before the first exchange and
        left after the last one. Use it to open and close the plugin's resources."""

    @_hook("FIRST")
    async def authenticate(self, token: str) -> Caller | None:
        """Called for a request with a token that is not in the configuration, before its body is
        read. Returns whose token it is, or None; raise `RequestRejected` with the status 401 if it
        is no longer valid. A caller with a name of its own is `Caller(name, models=...)`, or of a
        subclass; without `models` it may do all that the owner may."""

    @_hook("FIRST", fails="open")
    async def identify(self, request: MessagesRequest, exchange: Exchange) -> Identity | None:
        """Called once per exchange, before all others. Returns the conversation and the subagent
        of a client that names them in its own way, or None. If all return None, the headers
        `…-session-id`, `…-agent-id` and `…-parent-agent-id` are used."""

    @_hook("CHAIN")
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest | None:
        """Called once per exchange, before routing. Returns a changed request
        (`request.replace(..., because=...)`, or `request.without(names, because=...)` if a client
        chose the names), or None for no change."""

    @_hook("FIRST", limit_seconds=None)
    async def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """Called once per exchange, before routing. Returns a reply to answer without a backend,
        or None. Raise `RequestRejected` to reject the request. `explain` calls it too: have side
        effects only if `exchange.endpoint` is "messages"."""

    @_hook("FIRST")
    async def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """Called once per exchange. Returns the targets in fallback order and the reason, or None
        to leave it to the next plugin. Raise `NoRoute` for an unknown model, listing known ones."""

    @_hook("CHAIN")
    async def plan_attempts(
        self, attempts: Sequence[Attempt], request: MessagesRequest, exchange: Exchange
    ) -> Sequence[Attempt] | None:
        """Called once per exchange, after routing. Returns the attempts to make, in order."""

    @_hook("CHAIN")
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Called before each attempt, always with the result of `transform_request`, not with a
        request adapted to another attempt. Returns the request adapted to this backend."""

    @_hook("AROUND", limit_seconds=None)
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Called for each attempt. Calls `send` any number of times and returns its reply. Changes
        to the request (`request.replace(..., because=...)`) appear on the receipt. `explain` does
        not call it.

        `send` returns at the first content event; it raises `BackendError` for failures before it.
        If no `send` of the exchange brought a reply (`exchange.answers`), as when it gets the reply
        to another exchange, plugins that count tokens and costs count none.
        """
        raise AssertionError("a specification, never called")

    @_hook("FIRST", fails="open")
    async def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """Called for the failure that is reported to the client. Returns the error reply, or None
        for the kernel's default."""

    @_hook("CHAIN", fails="open", inward=False)
    async def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """Called before the first byte goes to the client. Returns a changed reply, or None.

        Replies to `count_tokens` are passed too (see `exchange.endpoint`), including the 404 for a
        backend that cannot count, for which the receipt has an entry with the stage `count`.
        """

    @_hook("CHAIN", fails="open", inward=False)
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """Called for each reply to a streaming request. Returns a stream that wraps `stream`, or
        None to add no layer. Without layers the reply is relayed byte for byte.

        A layer that changes something calls `exchange.note`: adding a layer does not count as a
        change on the receipt.

        A layer must not close the stream it wraps; the kernel closes every layer.
        """

    @_hook("CHAIN", fails="open", limit_seconds=None)
    async def list_models(
        self, models: Sequence[ModelInfo], exchange: Exchange
    ) -> Sequence[ModelInfo] | None:
        """Called for `GET /v1/models`, with `instance/model` ids. Returns the list to show."""

    @_hook("NOTIFY", fails="open")
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Called exactly once per exchange, after its last byte. `exchange.caller.name` is the
        caller's name in logs and receipts."""


def hook_infos() -> dict[str, HookInfo]:
    """How each hook is called, by name."""
    found = {name: getattr(spec, "plugway_hook", None) for name, spec in vars(Hookspecs).items()}
    return {name: info for name, info in found.items() if info is not None}
