"""One configuration brought to life: its plugins, backends and pipeline, opened and closed as one.

Swapping one snapshot for the next while exchanges run is the application's business.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import anyio
import anyio.abc
import orjson
from starlette.routing import Router

from plugway._backend import Backend, Caller, ModelInfo
from plugway._config import Config
from plugway._dialect import Dialect
from plugway._document import dotted, in_order
from plugway._errors import (
    BackendError,
    ConfigError,
    HookError,
    PluginError,
    Problem,
    RequestRejected,
)
from plugway._exchange import EXCHANGES, Exchange
from plugway._gateway import Gateway
from plugway._hooks import Hooks
from plugway._loader import load_plugins
from plugway._pipeline import Limits, Pipeline
from plugway._plugin import Plugin
from plugway._request import MessagesRequest
from plugway._serve import ExchangeServer

log = logging.getLogger("plugway.app")

MODEL_LIST_SECONDS = 2.0
"""Patience with backends that are asked for their models; Claude Code itself waits 3 s."""


class Snapshot:
    """What serves exchanges under one configuration."""

    def __init__(self, config: Config, plugins: Sequence[Plugin[Any]]) -> None:
        """Raises `PluginError` where a plugin breaks the contract, `ConfigError` where its options
        do not fit the backends."""
        self.config = config
        self.plugins = tuple(plugins)
        self.hooks = Hooks(self.plugins)
        self.backends = _by_name(self.hooks.register_backends())
        _check_options(config, self.plugins, self.backends)
        server = config.server
        limits = Limits(
            first_event_seconds=server.first_event_seconds,
            first_event_local_seconds=server.first_event_local_seconds,
            ping_seconds=server.ping_seconds,
            idle_seconds=server.idle_seconds,
            stalled_client_seconds=server.stalled_client_seconds,
            max_streams=server.max_streams,
        )
        self.exchanges = ExchangeServer(
            Pipeline(self.hooks, self.backends, limits),
            limits,
            max_body_bytes=server.max_body_bytes,
            body_seconds=server.body_seconds,
        )
        self.started = time.time()
        self.gateway = Gateway(self)
        self.routes = Router(self.hooks.register_routes(self.gateway))
        self.dialects = _by_path(self.hooks.register_dialects())
        self._models: dict[str, Sequence[ModelInfo]] = {}
        self._closing = anyio.Event()
        self.closed = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Hold open what the plugins own, from start to `close`; what is opened last closes first.

        Raises `PluginError` where one does not start.
        """
        held: list[_Held] = []
        failure: PluginError | None = None
        try:
            async with anyio.create_task_group() as group:
                try:
                    for plugin, context in self.hooks.lifespan(self.gateway):
                        held.append(_Held(plugin.name, context))
                        await group.start(held[-1].run)
                    task_status.started()
                    await self._closing.wait()
                except PluginError as error:  # raised below, so that it is not inside a group
                    failure = error
                for one in reversed(held):
                    await one.close()
        finally:
            self.closed.set()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Have everything closed as soon as no exchange needs it."""
        self._closing.set()

    async def models(self) -> list[tuple[Backend, ModelInfo]]:
        """The models of all backends; of one that does not answer in time, the last known ones."""

        async def ask(backend: Backend) -> None:
            try:
                with anyio.fail_after(MODEL_LIST_SECONDS):
                    self._models[backend.name] = await backend.models()
            except (BackendError, TimeoutError) as error:
                why = str(error) or f"no answer within {MODEL_LIST_SECONDS:g} s"
                log.warning("backend `%s` did not list its models: %s", backend.name, why)
            except Exception:
                log.exception("backend `%s` failed to list its models", backend.name)

        async with anyio.create_task_group() as group:
            for backend in self.backends.values():
                group.start_soon(ask, backend)
        return [
            (backend, info)
            for backend in self.backends.values()
            for info in self._models.get(backend.name, ())
        ]

    async def listed(self, caller: Caller | None = None) -> list[ModelInfo]:
        """The models under the ids that clients see: those that `caller` may use."""
        exchange = Exchange(MessagesRequest(b"{}"), caller=caller)
        found = [_public(backend.name, info) for backend, info in await self.models()]
        infos = await self.hooks.list_models(found, exchange)
        if caller is None or not caller.limited:
            return list(infos)
        return [info for info in infos if await self._serves(caller, info.id)]

    async def _serves(self, caller: Caller, model: str) -> bool:
        """Whether a plain request for `model` would be served."""
        request = MessagesRequest(orjson.dumps({"model": model}))
        try:
            await self.exchanges.pipeline.plan(request, Exchange(request, caller=caller))
        except (RequestRejected, HookError):
            return False
        return True


class _Held:
    """What one plugin owns, entered and left by a task of its own, so that a failure there, such as
    that of a task in the background, closes nothing of the others."""

    def __init__(self, name: str, context: AbstractAsyncContextManager[object]) -> None:
        self._name = name
        self._context = context
        self._closing = anyio.Event()
        self._closed = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Hold it until `close`. Raises `PluginError` where it cannot be entered."""
        entered = False
        try:
            async with self._context:
                entered = True
                task_status.started()
                await self._closing.wait()
        except Exception as error:
            if not entered:
                reason = f"hook `lifespan` failed at start: {error}"
                raise PluginError(self._name, reason) from error
            log.exception("plugin `%s`: what its `lifespan` holds open failed", self._name)
        finally:
            self._closed.set()

    async def close(self) -> None:
        """Have it left; returns when it is."""
        self._closing.set()
        await self._closed.wait()


def build_snapshot(config: Config) -> Snapshot:
    """Load the plugins of `config` and make them ready.

    Raises:
        ConfigError: with every problem of the file and of the plugins' options.
        PluginError: a plugin breaks the contract.
    """
    return Snapshot(config, load_plugins(config))


def _check_options(
    config: Config, plugins: Sequence[Plugin[Any]], backends: Mapping[str, Backend]
) -> None:
    """Raises `ConfigError` with every flaw that plugins see in their options."""
    zones = {name: backend.zone for name, backend in backends.items()}
    positions = {entry.name: entry.index for entry in config.plugins}
    problems: list[Problem] = []
    for plugin in plugins:
        for path, reason in plugin.check(zones):
            if plugin.name in positions:
                place = ("plugins", positions[plugin.name], "options", *path)
                problems.append(config.document.problem(place, reason))
            else:
                problems.append(Problem("", f"{plugin.name}.{dotted(path)}", reason))
    if problems:
        raise ConfigError(in_order(problems))


def _public(backend: str, info: ModelInfo) -> ModelInfo:
    """A model under the id that clients see: `anthropic/<instance>/<model>`.

    Claude Code takes such an id in its picker and honours the window that we state; see
    `docs/configuration.md`.
    """
    name = info.display_name or f"{info.id} ({backend})"
    return replace(info, id=f"anthropic/{backend}/{info.id}", display_name=name)


def _by_path(registered: Sequence[tuple[Plugin[Any], Dialect]]) -> dict[str, Dialect]:
    dialects: dict[str, Dialect] = {}
    for plugin, dialect in registered:
        for path in dialect.paths:
            if path in dialects or path in EXCHANGES:
                raise PluginError(plugin.name, f"the path `{path}` is served already")
            dialects[path] = dialect
    return dialects


def _by_name(registered: Sequence[tuple[Plugin[Any], Backend]]) -> dict[str, Backend]:
    backends: dict[str, Backend] = {}
    for plugin, backend in registered:
        if backend.name in backends:
            raise PluginError(plugin.name, f"a backend `{backend.name}` is registered already")
        backends[backend.name] = backend
    return backends
