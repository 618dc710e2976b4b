"""The ASGI application: routes, the guard around them, and replacing the snapshot on reload.

Exchanges are served by `exchange/intake` and `exchange/pipeline`.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.to_thread
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from plugway.config.config import Config
from plugway.config.listen import WILDCARDS
from plugway.config.settings import gateway_token
from plugway.exchange.dialect import DialectChannel
from plugway.exchange.failures import rejection_reply
from plugway.exchange.intake import refuse
from plugway.exchange.writer import channel_of
from plugway.http.guard import PUBLIC_PATHS, Guard, GuardPolicy, key_as_header
from plugway.http.snapshot import Snapshot, build_snapshot
from plugway.plugins.contain import Contained
from plugway.types.backend import ANONYMOUS, OWNER, Caller, ModelInfo, Reaches
from plugway.types.errors import HookError
from plugway.types.exchange import EXCHANGES, EXPLAIN, Exchange
from plugway.types.request import MessagesRequest
from plugway_http.hosts import in_url
from plugway_wire.errors import Forbidden, InvalidRequest, NoRoute, RequestRejected

log = logging.getLogger("plugway.app")

_SLASH = re.compile(rb"%(2f|5c|00)", re.IGNORECASE)
FORCED_CLOSE_SECONDS = 1800.0
"""Time after which an old snapshot is closed even if an exchange still runs on it."""


class App:
    """The gateway as an ASGI application."""

    def __init__(self, config: Config, snapshot: Snapshot | None = None) -> None:
        """Opens nothing yet. Raises `ConfigError` or `PluginError`."""
        self.snapshot = snapshot or build_snapshot(config)
        self.draining = False
        self.stale = False
        """The configuration file has changed, and the new version could not be loaded."""
        self.started = time.monotonic()
        self._policy = _policy(self.snapshot)
        self._group: anyio.abc.TaskGroup | None = None
        self._asgi: ASGIApp = Guard(_Front(self, self._starlette()), lambda: self._policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope. `/v1/v1/…` and `/messages` mean `/v1/…`: base URLs vary."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path.startswith("/v1/v1/") or f"/v1{path}" in EXCHANGES:
                path = path[3:] if path.startswith("/v1/") else f"/v1{path}"
                scope = {**scope, "path": path, "raw_path": path.encode("utf-8", "replace")}
            served = path.removesuffix(EXPLAIN)
            dialects = self.snapshot.dialects
            if scope["query_string"] and dialects.key_places:
                scope = key_as_header(scope, dialects.key_places)
            found = dialects.find(served)
            if found is not None and scope["method"] == "POST":
                plugin, dialect = found
                channel = channel_of(scope, receive, send)
                send = DialectChannel(dialect, send, served, channel, plugin)
                send.raw = served != path  # `explain` replies in the gateway's own format
                scope = {**scope, "plugway.dialect": send, "extensions": {"plugway": send}}
        await self._asgi(scope, receive, send)

    @property
    def active(self) -> int:
        """Exchanges in flight on the current snapshot."""
        return self.snapshot.exchanges.active

    async def reload(self, config: Config) -> None:
        """Build a snapshot of `config` and use it for new exchanges.

        Raises `ConfigError` or `PluginError`; the old snapshot then stays in use.
        """
        fresh = await anyio.to_thread.run_sync(build_snapshot, config)  # a key store may be slow
        assert self._group is not None, "reload needs a running application"
        fresh.gateway.predecessor = self.snapshot.gateway
        await self._group.start(fresh.run)
        fresh.gateway.predecessor = None
        old, self.snapshot = self.snapshot, fresh
        self._policy = _policy(fresh)
        self._group.start_soon(_retire, old)

    def drain(self) -> None:
        """Report on `/readyz` that the gateway is shutting down."""
        self.draining = True

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        async with anyio.create_task_group() as group:
            self._group = group
            await group.start(self.snapshot.run)
            try:
                yield
            finally:
                self.snapshot.close()
                with anyio.move_on_after(5, shield=True):
                    await self.snapshot.closed.wait()
                group.cancel_scope.cancel()

    # ── routes ───────────────────────────────────────────────────────────────────────────────

    def _starlette(self) -> Starlette:
        routes = [
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{model_id:path}", self._model, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
            Route("/", _hello, methods=["GET"]),
            Route("/api/hello", _hello, methods=["GET"]),
        ]
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers=_HANDLERS)
        app.router.redirect_slashes = False  # clients treat a redirect as a failure
        return app

    async def _models(self, request: Request) -> Response:
        limit = _limit(request.query_params.get("limit", "20"))
        listed = await self.snapshot.listed(request.scope["plugway.caller"])
        after = request.query_params.get("after_id")
        if after is not None:
            ids = [info.id for info in listed]
            if after not in ids:
                raise InvalidRequest(f"after_id: unknown model {after!r}", retry=False)
            listed = listed[ids.index(after) + 1 :]
        page = listed[:limit]
        body = {
            "data": [model_object(info) for info in page],
            "has_more": len(listed) > limit,
            "first_id": page[0].id if page else None,
            "last_id": page[-1].id if page else None,
        }
        return _json(body, request)

    async def _model(self, request: Request) -> Response:
        wanted = request.path_params["model_id"]
        for info in await self.snapshot.listed(request.scope["plugway.caller"]):
            if wanted in {info.id, info.id.removeprefix("anthropic/")}:
                return _json(model_object(info), request)
        raise NoRoute(f"model: {wanted}", retry=False)

    async def _health(self, request: Request) -> Response:
        """Liveness; for the owner also the state of the gateway."""
        body: dict[str, Any] = {"status": "draining" if self.draining else "ok"}
        if request.scope["plugway.caller"].name == OWNER:
            body |= self._state() | ({"config_stale": True} if self.stale else {})
        return _json(body, request)

    def _state(self) -> dict[str, Any]:
        snapshot = self.snapshot
        path = snapshot.config.path
        return {
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self.started, 1),
            "config": str(path) if path else None,
            "active": self.active,
            "plugins": [plugin.name for plugin in snapshot.plugins],
            "quarantined": [f"{p}.{hook}" for p, hook in snapshot.hooks.quarantined()],
            "backends": [
                {"name": b.name, "zone": b.zone, "way": b.way if isinstance(b, Reaches) else None}
                for b in snapshot.backends.values()
            ],
        }

    async def _readyz(self, request: Request) -> Response:
        status = 503 if self.draining else 200
        body: dict[str, Any] = {"status": "draining" if self.draining else "ready"}
        if self.stale:
            body["config_stale"] = True
        return _json(body, request, status=status)


class _Front:
    """Dispatches exchanges directly and everything else through Starlette.

    Starlette's layers around an endpoint would take a tenth of the time of a small request.
    """

    def __init__(self, app: App, rest: ASGIApp) -> None:
        self._app = app
        self._rest = rest

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self._rest(scope, receive, send)
        path: str = scope["path"]
        raw: bytes = scope.get("raw_path") or b""
        if b"%" in raw and _SLASH.search(raw) and not raw.startswith(b"/v1/models/"):
            message = f"{path[:200]!r} is not served here: paths must not contain encoded slashes"
            return refuse(NoRoute(message, retry=False), scope, receive, send)
        endpoint = EXCHANGES.get(path)
        channel: DialectChannel | None = scope.get("plugway.dialect")
        if channel is not None:
            endpoint = "explain" if path.endswith(EXPLAIN) else channel.endpoint
        if endpoint is None:
            return self._other(scope, receive, send)
        if scope["method"] != "POST":
            message = f"{scope['method']} {path} is not served here"
            rejected = RequestRejected(message, status=405, headers={"allow": "POST"})
            return refuse(rejected, scope, receive, send)
        return self._app.snapshot.exchanges.serve(endpoint, scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a plugin's route, with the body limits of exchanges, or one of the kernel."""
        snapshot = self._app.snapshot
        matching = (item for item in snapshot.routes if item[1].matches(scope)[0] is Match.FULL)
        plugin, found = next(matching, (None, None))
        if plugin is None or found is None:
            return await self._rest(scope, receive, send)
        caller: Caller = scope["plugway.caller"]
        public = getattr(found, "public", False)
        if caller.name == ANONYMOUS and not public and scope["path"] not in PUBLIC_PATHS:
            error = RequestRejected("a token is needed", status=401)
            return await refuse(error, scope, receive, send)
        if caller.limited and not (public or getattr(found, "limited_callers", False)):
            message = f"the token `{caller.name}` may only be used for models"
            return await refuse(Forbidden(message, retry=False), scope, receive, send)
        json = b"json" in dict(scope["headers"]).get(b"content-type", b"")
        body = await snapshot.exchanges.body(scope, receive, send, json=json)
        if body is not None:
            app = ExceptionMiddleware(_Contained(plugin.name, found), _HANDLERS)
            await app(scope, _after(body, receive), send)


class _Contained:
    """One route of a plugin; its exceptions name the plugin."""

    def __init__(self, plugin: str, route: BaseRoute) -> None:
        self._plugin = plugin
        self._route = Router([route], redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with Contained(self._plugin, "register_routes", HTTPException):
            await self._route(scope, receive, send)


def _after(body: bytes, receive: Receive) -> Receive:
    """`receive` for an application, preceded by the `body` that has been read."""
    held: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return held.pop() if held else await receive()

    return replay


async def _retire(old: Snapshot) -> None:
    """Close a snapshot after its last exchange."""
    with anyio.move_on_after(FORCED_CLOSE_SECONDS):
        await old.exchanges.idle()
    old.close()


def _policy(snapshot: Snapshot) -> GuardPolicy:
    server = snapshot.config.server
    return GuardPolicy(
        tokens={
            gateway_token(server).encode(): Caller(),
            **{
                one.token.get_secret_value().encode(): Caller(one.name, models=one.models)
                for one in server.tokens
            },
        },
        hosts=frozenset({*server.allowed_hosts, in_url(server.host)}.difference(WILDCARDS)),
        origins=frozenset(server.allowed_origins),
        open_paths=snapshot.open_paths,
        accepts=snapshot.accepts,
        authenticate=snapshot.hooks.authenticate,
        max_body_bytes=server.max_body_bytes,
    )


def model_object(info: ModelInfo) -> dict[str, Any]:
    """A model as the API lists it (`types/model_info.py` of the `anthropic` SDK)."""
    item: dict[str, Any] = {
        "type": "model",
        "id": info.id,
        "display_name": info.display_name or info.id,
        "created_at": info.created_at,
    }
    if info.context_tokens:
        item["max_input_tokens"] = info.context_tokens
    if info.max_output_tokens:
        item["max_tokens"] = info.max_output_tokens
    if "capabilities" in info.extra:
        item["capabilities"] = info.extra["capabilities"]
    if info.notice:
        item["notice"] = info.notice
    return item


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= 1000:
        raise InvalidRequest("limit: Input should be between 1 and 1000", retry=False)
    return int(text)


async def _hello(request: Request) -> Response:
    return _json({"status": "ok"}, request)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"][:200], request.scope["method"]
    text = error.detail
    if error.status_code in (404, 405):
        text = f"{method} {path} is not served here"
    if error.status_code == 404:
        text += ": no plugin in the configuration serves it"
        text += " (`plugway plugins` lists the installed ones)"
    rejected = RequestRejected(text, status=error.status_code, headers=error.headers or {})
    return await _rejected(request, rejected)


async def _rejected(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRejected | HookError)
    caller, id_ = (request.scope.get(f"plugway.{name}") for name in ("caller", "request_id"))
    exchange = Exchange(MessagesRequest(b"{}"), id=id_, caller=caller)
    reply = rejection_reply(error, exchange)
    headers = {**dict(reply.headers), "request-id": exchange.id}
    return Response(reply.body, reply.status, headers=headers)


_HANDLERS: Mapping[Any, Any] = {
    HTTPException: _http_error,
    RequestRejected: _rejected,
    HookError: _rejected,
}


def _json(body: object, request: Request, *, status: int = 200) -> Response:
    headers = {"request-id": request.scope.get("plugway.request_id", "")}
    return Response(orjson.dumps(body), status, headers, media_type="application/json")
