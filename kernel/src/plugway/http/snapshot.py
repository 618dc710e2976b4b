"""A running configuration: its plugins, backends and pipeline, opened and closed together.

`http/app` replaces one snapshot by the next while exchanges run.
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
from starlette.routing import BaseRoute

from plugway.config.config import Config
from plugway.config.document import Place, dotted, in_order
from plugway.config.listen import certificate_problems
from plugway.exchange.intake import DialectPaths, ExchangeServer
from plugway.exchange.pipeline import Limits, Pipeline
from plugway.plugins.contain import is_defect, with_message
from plugway.plugins.gateway import Gateway
from plugway.plugins.hooks import Hooks
from plugway.plugins.loader import Found, find_plugins
from plugway.plugins.plugin import Flaw, Plugin
from plugway.types.backend import Backend, Caller, ModelInfo
from plugway.types.dialect import Dialect
from plugway.types.errors import ConfigError, HookError, PluginError, Problem
from plugway.types.exchange import EXCHANGES, EXPLAIN, Exchange
from plugway.types.models import valid_models
from plugway.types.request import MessagesRequest
from plugway_log import muted, redact
from plugway_wire.errors import BackendError, RequestRejected
from plugway_wire.json import as_list, as_object

log = logging.getLogger("plugway.app")

MODEL_LIST_SECONDS = 2.0
"""Time limit for a backend to list its models; Claude Code itself waits 3 s."""


class Snapshot:
    """Serves exchanges under one configuration."""

    def __init__(self, config: Config, plugins: Sequence[Plugin[Any]]) -> None:
        """Raises `PluginError` if a plugin breaks the contract, and `ConfigError` if options do
        not match the backends."""
        self.config = config
        self.plugins = tuple(plugins)
        self.hooks = Hooks(self.plugins)
        self.backends = _by_name(self.hooks.listed("register_backends", Backend))
        zones = {name: backend.zone for name, backend in self.backends.items()}
        if problems := _option_problems(config, self.plugins, zones):
            raise ConfigError(in_order(problems))
        if not self.backends:
            log.warning(
                "no backend is listed: every request that needs a model will fail with 404 "
                "- list one under `plugins`; `plugway config example` shows some"
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
        routes = self.hooks.listed("register_routes", BaseRoute, self.gateway)
        self.routes = sorted(routes, key=lambda item: getattr(item[1], "last", False))
        """Routes of plugins, each with the plugin that registered it."""
        self.dialects = DialectPaths(self.hooks.listed("register_dialects", Dialect))
        paths = [(getattr(route, "path", ""), plugin, route) for plugin, route in self.routes]
        self.open_paths = {path: p for path, p, route in paths if getattr(route, "public", False)}
        """Paths of plugins' routes that need no token."""
        self.accepts = {(path, kind) for path, _, r in paths for kind in getattr(r, "accepts", ())}
        for path, plugin in self.open_paths.items():
            if path in EXCHANGES or self.dialects.find(path.removesuffix(EXPLAIN)):
                raise PluginError(plugin.name, f"`{path}` serves models and must not be public")
        self._models: dict[str, Sequence[ModelInfo]] = {}
        self._closing = anyio.Event()
        self.closed = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Enter the lifespans of all plugins, and leave them in reverse order after `close`.

        Raises `PluginError` if one fails to start.
        """
        entered: list[_Lifespan] = []
        failure: PluginError | None = None
        try:
            async with anyio.create_task_group() as group:
                try:
                    for plugin, context in self.hooks.lifespan(self.gateway):
                        entered.append(_Lifespan(plugin.name, context))
                        await group.start(entered[-1].run)
                    task_status.started()
                    await self._closing.wait()
                except PluginError as error:  # raised below, outside of the task group
                    failure = error
                    if self.gateway.predecessor is None:  # a failed reload is logged by the server
                        log.error("%s", error)  # noqa: TRY400 - the cause is in the message
                for one in reversed(entered):
                    await one.close()
        finally:
            self.closed.set()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Leave the lifespans of all plugins; `closed` is set when that is done."""
        self._closing.set()

    async def models(self) -> list[tuple[Backend, ModelInfo]]:
        """The models of all backends; the last known ones of a backend that fails or times out."""

        async def ask(backend: Backend) -> None:
            try:
                with anyio.fail_after(MODEL_LIST_SECONDS):
                    self._models[backend.name] = valid_models(await backend.models())
            except (BackendError, TimeoutError) as error:
                late = f"timed out after {MODEL_LIST_SECONDS:g} s"
                reason = error.record if isinstance(error, BackendError) else late
                log.warning("backend `%s` did not list its models: %s", backend.name, reason)
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
        """The models that `caller` may use, under the ids that clients see."""
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


class _Lifespan:
    """The lifespan of one plugin, entered and left in its own task, so that a failure, such as that
    of a background task, does not affect other plugins."""

    def __init__(self, name: str, context: AbstractAsyncContextManager[object]) -> None:
        self._name = name
        self._context = context
        self._closing = anyio.Event()
        self._closed = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Enter it and wait for `close`. Raises `PluginError` if it fails to start."""
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
                reason = f"hook `lifespan` failed at start: {with_message(error)}"
                raise PluginError(self._name, reason) from error
            log.exception("plugin `%s`: its `lifespan` failed while running", self._name)
        finally:
            self._closed.set()

    async def close(self) -> None:
        """Leave it, and wait until that is done."""
        self._closing.set()
        await self._closed.wait()


def build_snapshot(config: Config) -> Snapshot:
    """Load the plugins of `config`.

    Raises:
        ConfigError: with every problem in the file and in the options of plugins.
        PluginError: a plugin breaks the contract.
    """
    found = find_plugins(config)
    wrong = certificate_problems(config)
    if found.problems or wrong:
        between = _problems_between(config, found)
        raise ConfigError(in_order([*wrong, *found.problems, *between]))
    return Snapshot(config, found.plugins)


def problems_of_plugins(config: Config) -> list[Problem]:
    """The problems of plugins in a configuration that has other problems too."""
    found = find_plugins(config)
    return [*found.problems, *_problems_between(config, found)]


def _problems_between(config: Config, found: Found) -> list[Problem]:
    """The problems that loaded plugins report about each other when others failed to load.

    The names of those count as backends in an unknown zone, and warnings are suppressed: both could
    be wrong otherwise.
    """
    unknown = _unknown_backends(config, found)
    plugins = list({plugin.name: plugin for plugin in reversed(found.plugins)}.values())[::-1]
    try:
        backends = Hooks(plugins).listed("register_backends", Backend)
        zones = {b.name: b.zone for _, b in backends}
        with muted(plugin.log for plugin in plugins if unknown):
            return _option_problems(config, plugins, {**dict.fromkeys(unknown, ""), **zones})
    except PluginError as error:
        return [config.document.problem(_place(config, error.plugin) or (), str(error))]


def _unknown_backends(config: Config, found: Found) -> list[str]:
    """The names of all entries that failed to load and may be backends."""
    loaded = {plugin.name for plugin in found.plugins}
    entries = [as_object(e) for e in as_list(as_object(config.document.value).get("plugins"))]
    names: list[str] = []
    for entry in entries:
        use, name = entry.get("use"), entry.get("name") or entry.get("use")
        kind = found.classes.get(use) if isinstance(use, str) else None
        may_be = kind is None or hasattr(getattr(kind, "register_backends", None), "plugway_impl")
        if isinstance(name, str) and name not in loaded and may_be:
            names.append(name)
    return names


def _place(config: Config, name: str) -> Place | None:
    """The place of an instance's entry in the configuration."""
    return next((("plugins", e.index) for e in config.plugins if e.name == name), None)


def _option_problems(
    config: Config, plugins: Sequence[Plugin[Any]], zones: Mapping[str, str]
) -> list[Problem]:
    """The problems that plugins report in their options. Raises `PluginError` if `check` fails."""
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

    Claude Code accepts such ids in its model picker, with the context window listed for them; see
    `docs/configuration.md`.
    """
    name = info.display_name or f"{info.id} ({backend})"
    return replace(info, id=f"anthropic/{backend}/{info.id}", display_name=name)


def _by_name(registered: Sequence[tuple[Plugin[Any], Backend]]) -> dict[str, Backend]:
    backends: dict[str, Backend] = {}
    for plugin, backend in registered:
        if backend.name in backends:
            raise PluginError(plugin.name, f"a backend `{backend.name}` is already registered")
        backends[backend.name] = backend
    return backends
