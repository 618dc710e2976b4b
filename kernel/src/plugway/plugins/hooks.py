"""Calls hooks: pluggy only registers and orders the implementations.

pluggy cannot call them because it does not await: with `firstresult` an `async def` would always
win. `plugins/hookspecs` specifies the hooks.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import time
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, TypeVar, cast

from anyio.lowlevel import checkpoint

from plugway.plugins.contain import Attributed, Layer, is_defect, log, unwound, with_message
from plugway.plugins.gateway import Gateway
from plugway.plugins.hookspecs import Send
from plugway.plugins.impls import Impl, registered
from plugway.plugins.plugin import Plugin
from plugway.types.backend import Caller, ModelInfo
from plugway.types.errors import HookError, PluginError
from plugway.types.exchange import Attempt, Exchange, Identity, Outcome, Route
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_http.cancel import bounded
from plugway_log import described
from plugway_wire.errors import BackendError, RequestRejected
from plugway_wire.events import EventStream

T = TypeVar("T")

_SEQUENCE: Final[Any] = (list, tuple)


class Hooks:
    """The hooks of one set of plugins, fixed at load."""

    def __init__(self, plugins: Sequence[Plugin[Any]]) -> None:
        """Raises `PluginError` if a plugin does not match the specification of a hook."""
        self._impls = registered(plugins)
        if os.environ.get("PLUGWAY_TRACE_HOOKS") == "1":
            self._call = self._traced

    def quarantined(self) -> list[tuple[str, str]]:
        """(plugin, hook) of disabled implementations."""
        return [(i.plugin.name, i.hook) for i in self.all() if i.quarantined]

    def all(self) -> list[Impl]:
        """Every implementation."""
        return [impl for impls in self._impls.values() for impl in impls]

    # ── at load ──────────────────────────────────────────────────────────────────────────────

    def listed(self, hook: str, kind: type[T], *args: object) -> list[tuple[Plugin[Any], T]]:
        """The items of `kind` in the lists that a hook's implementations return, each with its
        plugin, in listed order."""
        found: list[tuple[Plugin[Any], T]] = []
        expected = f"a list of `{kind.__name__}`"
        for impl, result in self._collect(hook, *args):
            if not isinstance(result, _SEQUENCE):
                name = type(result).__name__
                what = f"one {name}" if isinstance(result, kind) else name
                raise _bad_result(impl, what, expected)
            for item in cast("Sequence[object]", result):
                if not isinstance(item, kind):
                    name = type(item).__name__
                    lacks = _lacking(item, kind)
                    raise _bad_result(impl, f"a list with {name}{lacks}", expected)
                found.append((impl.plugin, item))
        return found

    def lifespan(self, gateway: Gateway) -> list[tuple[Plugin[Any], Any]]:
        """The context managers of all plugins."""
        found = self._collect("lifespan", gateway)
        for impl, result in found:
            if not isinstance(result, AbstractAsyncContextManager):
                expected = "an async context manager: decorate it with `@asynccontextmanager`"
                raise _bad_result(impl, type(result).__name__, expected)
        return [(impl.plugin, result) for impl, result in found]

    def _collect(self, hook: str, *args: object) -> list[tuple[Impl, Any]]:
        found: list[tuple[Impl, Any]] = []
        for impl in self._impls[hook]:
            try:
                result = impl.call(*args)
            except BaseException as error:  # including `SystemExit`
                reason = f"hook `{hook}` raised {with_message(error)}"
                raise PluginError(impl.plugin.name, reason) from error
            if result is not None:
                found.append((impl, result))
        return found

    # ── per exchange ─────────────────────────────────────────────────────────────────────────

    async def authenticate(self, token: bytes) -> Caller | None:
        """The first caller that a plugin returns."""
        found = await self._first("authenticate", (token.decode("latin-1"),), Caller)
        return found[1] if found else None

    async def identify(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Set the conversation that the first plugin returns."""
        if found := await self._first("identify", (request, exchange), Identity):
            exchange.identify(found[1])

    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest:
        """The request after all plugins."""
        for impl in self._impls["transform_request"]:
            if request.heavy:
                await checkpoint()
            new = await self._call(impl, (request, exchange), MessagesRequest)
            request = _accept(impl, request, new, exchange)
        return request

    async def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """The first reply that a plugin returns."""
        found = await self._first("answer", (request, exchange), Reply)
        if found is not None:
            exchange.note(found[0].plugin.name, "answered without a backend", stage="answer")
        return _attributed(*found) if found else None

    async def resolve_route(self, request: MessagesRequest, exchange: Exchange) -> Route | None:
        """The first route that a plugin returns."""
        found = await self._first("resolve_route", (request, exchange), Route)
        if found is None:
            return None
        exchange.note(found[0].plugin.name, found[1].reason, stage="route")
        return found[1]

    async def plan_attempts(
        self, attempts: Sequence[Attempt], request: MessagesRequest, exchange: Exchange
    ) -> Sequence[Attempt]:
        """The attempts after all plugins."""
        for impl in self._impls["plan_attempts"]:
            new: Any = await self._call(impl, (attempts, request, exchange), _SEQUENCE)
            attempts = attempts if new is None else new
        return attempts

    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest:
        """The request as this attempt sends it."""
        for impl in self._impls["prepare_attempt"]:
            if request.heavy:
                await checkpoint()
            new = await self._call(impl, (request, attempt, exchange), MessagesRequest)
            request = _accept(impl, request, new, exchange)
        return request

    def around_attempt(self, send: Send, exchange: Exchange) -> Send:
        """`send` inside the layers of all plugins, the first listed outermost."""
        for impl in reversed(self._impls["around_attempt"]):
            send = self._layer(impl, send, exchange)
        return send

    def _layer(self, impl: Impl, inner: Send, exchange: Exchange) -> Send:
        async def layer(request: MessagesRequest, attempt: Attempt) -> Reply:
            def send(new: MessagesRequest, attempt: Attempt) -> Awaitable[Reply]:
                return inner(_accept(impl, request, new, exchange), attempt)

            if request.heavy:
                await checkpoint()
            try:
                reply = await self._call(impl, (send, request, attempt, exchange), Reply)
            except BackendError as error:
                raise unwound(error)  # noqa: B904
            if reply is None:
                raise HookError(impl.plugin.name, impl.hook, "returned None instead of a reply")
            return _attributed(impl, reply)

        return layer

    async def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """The first error reply that a plugin returns."""
        found = await self._first("normalize_failure", (failure, attempt, exchange), Reply)
        return found[1] if found else None

    async def transform_response(self, reply: Reply, exchange: Exchange) -> Reply:
        """The reply after all plugins."""
        for impl in self._impls["transform_response"]:
            new = await self._call(impl, (reply, exchange), Reply)
            reply = reply if new is None else _attributed(impl, new)
        return reply

    def transform_stream(self, stream: EventStream, exchange: Exchange) -> list[EventStream]:
        """The layers that plugins put around `stream`, innermost first."""
        layers: list[EventStream] = []
        for impl in self._impls["transform_stream"]:
            if impl.quarantined:
                continue
            new = self._stream_layer(impl, stream, exchange)
            if new is not None:
                exchange.note(impl.plugin.name, "stream layer added", stage="layer")
                layers.append(new)
                stream = new
        return layers

    def _stream_layer(self, impl: Impl, stream: EventStream, exchange: Exchange) -> Layer | None:
        """The layer that an implementation puts around `stream`, or None."""
        try:
            new = impl.call(stream, exchange)
        except BaseException as error:
            if not is_defect(error):
                raise
            return self._failed(impl, f"raised {described(error)}", error)
        if new is None or new is stream:
            return None
        if isinstance(new, EventStream):
            return Layer(new, impl.plugin.name)
        reason = f"returned {type(new).__name__} instead of `EventStream` or None"
        return self._failed(impl, reason, None)

    async def list_models(
        self, models: Sequence[ModelInfo], exchange: Exchange
    ) -> Sequence[ModelInfo]:
        """The list after all plugins."""
        for impl in self._impls["list_models"]:
            new: Any = await self._call(impl, (models, exchange), _SEQUENCE)
            models = models if new is None else new
        return models

    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Notify every plugin, also after one that read a request whose fields are invalid."""
        for impl in self._impls["finished"]:
            with suppress(RequestRejected, BackendError):
                await self._call(impl, (exchange, outcome), object)

    # ── calling one implementation ───────────────────────────────────────────────────────────

    async def _first(
        self, hook: str, args: tuple[object, ...], expected: type[T]
    ) -> tuple[Impl, T] | None:
        for impl in self._impls[hook]:
            if isinstance(args[0], MessagesRequest) and args[0].heavy:
                await checkpoint()
            result = await self._call(impl, args, expected)
            if result is not None:
                return impl, result
        return None

    async def _call(self, impl: Impl, args: tuple[object, ...], expected: type[T]) -> T | None:
        """Call an implementation within its time limit, check its result, handle its failure."""
        if impl.quarantined:
            return None
        try:
            result = impl.call(*args)
            if impl.is_async:
                seconds = impl.info.limit_seconds
                result = await (result if seconds is None else bounded(result, seconds))
            elif result is not None and inspect.isawaitable(result):
                async with asyncio.timeout(impl.info.limit_seconds):
                    result = await result
        except (RequestRejected, BackendError, HookError):
            raise
        except BaseException as error:
            if not is_defect(error):
                raise
            return self._failed(impl, _reason(impl, error), error)
        if result is None or isinstance(result, expected):
            return result
        reason = f"returned {type(result).__name__} instead of {_names(expected)} or None"
        return self._failed(impl, reason, None)

    async def _traced(self, impl: Impl, args: tuple[object, ...], expected: Any) -> Any:
        began = time.perf_counter()
        result = await Hooks._call(self, impl, args, expected)
        ms = (time.perf_counter() - began) * 1000
        kind = "None" if result is None else type(result).__name__
        print(f"hook {impl.hook:18} {impl.plugin.name:16} {ms:7.2f} ms  {kind}", file=sys.stderr)
        return result

    def _failed(self, impl: Impl, reason: str, cause: BaseException | None) -> None:
        impl.failed()
        fields = {"plugin": impl.plugin.name, "hook": impl.hook}
        log.error(
            "plugin `%s`, hook `%s`: %s", *fields.values(), reason, extra=fields, exc_info=cause
        )
        if impl.info.fails == "closed":
            raise HookError(impl.plugin.name, impl.hook, reason) from cause
        if impl.quarantined:
            log.error("plugin `%s`: hook `%s` is disabled", *fields.values(), extra=fields)


def _attributed(impl: Impl, reply: Reply) -> Reply:
    """`reply`; if the plugin made its events, their exceptions name the plugin."""
    events = reply.events
    if events is None or isinstance(events, Attributed):
        return reply
    return reply.replace(events=Layer(events, impl.plugin.name, impl.hook))


def _accept(
    impl: Impl, old: MessagesRequest, new: MessagesRequest | None, exchange: Exchange
) -> MessagesRequest:
    if new is None or new is old:
        return old
    changes = new.changes[len(old.changes) :]
    exchange.note_once(impl.plugin.name, (change.summary for change in changes), stage=impl.hook)
    return new


def _bad_result(impl: Impl, what: str, expected: str) -> PluginError:
    return PluginError(
        impl.plugin.name, f"hook `{impl.hook}` returned {what} instead of {expected}"
    )


def _lacking(item: object, kind: type) -> str:
    """The attributes that `item` lacks to implement a protocol, as text."""
    parts = vars(kind) if getattr(kind, "_is_protocol", False) else ()
    missing = [f"`{n}`" for n in parts if not n.startswith("_") and not hasattr(item, n)]
    return f", which has no {', '.join(missing)}," if missing else ""


def _names(expected: Any) -> str:
    return "a list" if expected is _SEQUENCE else f"`{expected.__name__}`"


def _reason(impl: Impl, error: BaseException) -> str:
    if isinstance(error, TimeoutError) and impl.info.limit_seconds is not None:
        return f"timed out after {impl.info.limit_seconds:g} s"
    return f"raised {described(error)}"
