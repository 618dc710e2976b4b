"""One configuration brought to life: its plugins, backends and pipeline, opened and closed as one.

Swapping one snapshot for the next while exchanges run belongs to the application.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from typing import Any

import anyio
import anyio.abc
import orjson
from starlette.routing import BaseRoute

from plugway.config.config import Config
from plugway.config.document import Place, dotted, in_order
from plugway.exchange.intake import ExchangeServer
from plugway.exchange.pipeline import Limits, Pipeline
from plugway.log import redact
from plugway.plugins.contain import in_full, is_defect
from plugway.plugins.gateway import Gateway
from plugway.plugins.hooks import Hooks
from plugway.plugins.loader import Found, find_plugins
from plugway.plugins.plugin import Flaw, Plugin
from plugway.types.backend import Backend, Caller, ModelInfo
from plugway.types.dialect import Dialect, KeyInQuery
from plugway.types.errors import (
    BackendError,
    ConfigError,
    HookError,
    PluginError,
    Problem,
    RequestRejected,
)
from plugway.types.exchange import EXCHANGES, Exchange
from plugway.types.json import as_list, as_object
from plugway.types.models import sound_models
from plugway.types.request import MessagesRequest

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
        self.backends = _by_name(self.hooks.listed("register_backends", Backend))
        zones = {name: backend.zone for name, backend in self.backends.items()}
        if flaws := _flaws(config, self.plugins, zones):
            raise ConfigError(in_order(flaws))
        if not self.backends:
            log.warning(
                "no backend is listed: every request that needs a model will fail with 404 "
                "- list one under `plugins`; `plugway config example` shows them"
            )
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
        self.routes = self.hooks.listed("register_routes", BaseRoute, self.gateway)
        """The routes of plugins, each with the plugin that registered it."""
        self.dialects = DialectPaths(self.hooks.listed("register_dialects", Dialect))
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
                    self._models[backend.name] = sound_models(await backend.models())
            except (BackendError, TimeoutError) as error:
                late = f"no answer within {MODEL_LIST_SECONDS:g} s"
                why = error.record if isinstance(error, BackendError) else late
                log.warning("backend `%s` did not list its models: %s", backend.name, why)
            except BaseException as error:
                if not is_defect(error):
                    raise
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
        except BaseException as error:
            if not is_defect(error):
                raise
            if not entered:
                reason = f"hook `lifespan` failed at start: {in_full(error)}"
                raise PluginError(self._name, reason) from error
            log.exception("plugin `%s`: its `lifespan` failed while running", self._name)
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
    found = find_plugins(config)
    if found.problems:
        raise ConfigError(in_order([*found.problems, *_problems_between(config, found)]))
    return Snapshot(config, found.plugins)


def problems_of_plugins(config: Config) -> list[Problem]:
    """What the plugins of a file find wrong with it, of which other parts are wrong too."""
    found = find_plugins(config)
    return [*found.problems, *_problems_between(config, found)]


def _problems_between(config: Config, found: Found) -> list[Problem]:
    """What the plugins that could be made see in each other, where others could not be made.

    The name of one that could not be counts as a backend's, in a zone that nobody knows: what is
    said of one that is not there yet would be guesswork, and so would warnings be.
    """
    unknown = _unknown_backends(config, found)
    plugins = list({plugin.name: plugin for plugin in reversed(found.plugins)}.values())[::-1]
    try:
        backends = Hooks(plugins).listed("register_backends", Backend)
        zones = {b.name: b.zone for _, b in backends}
        with _silent(plugins if unknown else ()):
            return _flaws(config, plugins, {**dict.fromkeys(unknown, ""), **zones})
    except PluginError as error:
        return [config.document.problem(_place(config, error.plugin) or (), str(error))]


def _unknown_backends(config: Config, found: Found) -> list[str]:
    """The names of all entries of the file that could not be made, and may be backends."""
    made = {plugin.name for plugin in found.plugins}
    entries = [as_object(e) for e in as_list(as_object(config.document.value).get("plugins"))]
    names: list[str] = []
    for entry in entries:
        use, name = entry.get("use"), entry.get("name") or entry.get("use")
        kind = found.classes.get(use) if isinstance(use, str) else None
        may_be = kind is None or hasattr(getattr(kind, "register_backends", None), "plugway_impl")
        if isinstance(name, str) and name not in made and may_be:
            names.append(name)
    return names


@contextmanager
def _silent(plugins: Sequence[Plugin[Any]]) -> Generator[None]:
    def nothing(_: logging.LogRecord) -> bool:
        return False

    for plugin in plugins:
        plugin.log.addFilter(nothing)
    try:
        yield
    finally:
        for plugin in plugins:
            plugin.log.removeFilter(nothing)


def _place(config: Config, name: str) -> Place | None:
    """Where the entry of an instance stands."""
    return next((("plugins", e.index) for e in config.plugins if e.name == name), None)


def _flaws(
    config: Config, plugins: Sequence[Plugin[Any]], zones: Mapping[str, str]
) -> list[Problem]:
    """Every flaw that plugins see in their options. Raises `PluginError` where one cannot say."""
    problems: list[Problem] = []
    for plugin in plugins:
        entry = _place(config, plugin.name)
        for path, reason in _checked(plugin, zones):
            if entry is not None:
                place = (*entry, "options", *path)
                problems.append(config.document.problem(place, reason))
            else:
                problems.append(Problem("", f"{plugin.name}.{dotted(path)}", reason))
    return problems


def _checked(plugin: Plugin[Any], zones: Mapping[str, str]) -> list[Flaw]:
    try:
        found: Any = plugin.check(zones)
        return [(tuple(path), str(reason)) for path, reason in found]
    except BaseException as error:  # `sys.exit` included
        what = f"{type(error).__name__}: {redact(str(error))}"
        reason = f"`check` must return a list of (place, reason), but raised {what}"
        raise PluginError(plugin.name, reason) from error


def _public(backend: str, info: ModelInfo) -> ModelInfo:
    """A model under the id that clients see: `anthropic/<instance>/<model>`.

    Claude Code takes such an id in its picker and honours the window that we state; see
    `docs/configuration.md`.
    """
    name = info.display_name or f"{info.id} ({backend})"
    return replace(info, id=f"anthropic/{backend}/{info.id}", display_name=name)


class DialectPaths:
    """The dialect that serves each path, with the name of its plugin."""

    def __init__(self, registered: Sequence[tuple[Plugin[Any], Dialect]]) -> None:
        """Raises `PluginError` where two serve one path."""
        self._exact: dict[str, tuple[str, Dialect]] = {}
        self._open: dict[tuple[str, str], tuple[str, Dialect]] = {}
        """By what stands before and behind `{model}`."""
        self.key_places: list[tuple[str, str]] = []
        """Beginnings of paths, and the parameter of the query that may hold the token there."""
        for plugin, dialect in registered:
            for path in dialect.paths:
                self._add(path, plugin.name, dialect)
            if isinstance(dialect, KeyInQuery):
                self.key_places += dialect.key_places

    def find(self, path: str) -> tuple[str, Dialect] | None:
        """Who serves POST requests to `path`."""
        found = self._exact.get(path)
        if found is not None or path in EXCHANGES:
            return found
        for (before, behind), one in self._open.items():
            if path.endswith(behind) and path.startswith(before):
                return one if len(path) > len(before) + len(behind) else None
        return None

    def _add(self, path: str, plugin: str, dialect: Dialect) -> None:
        before, mark, behind = path.partition("{model}")
        taken = (before, behind) in self._open if mark else path in self._exact
        if taken or path in EXCHANGES:
            raise PluginError(plugin, f"the path `{path}` is already served")
        if mark:
            self._open[before, behind] = plugin, dialect
        else:
            self._exact[path] = plugin, dialect


def _by_name(registered: Sequence[tuple[Plugin[Any], Backend]]) -> dict[str, Backend]:
    backends: dict[str, Backend] = {}
    for plugin, backend in registered:
        if backend.name in backends:
            raise PluginError(plugin.name, f"a backend `{backend.name}` is already registered")
        backends[backend.name] = backend
    return backends
