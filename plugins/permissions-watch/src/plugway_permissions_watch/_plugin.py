"""The plugin: reports what other plugins use without declaring it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, cast

import anyio
import anyio.to_thread
import orjson

from plugway import Gateway, NoOptions, Plugin, hookimpl, write_file
from plugway_packages import PermissionsError, observed, observed_path, permissions
from plugway_permissions_watch._declared import Declared, python_folders
from plugway_permissions_watch._loops import raise_events
from plugway_permissions_watch._owners import Owners
from plugway_permissions_watch._watch import Watch, resolved_names


class PermissionsWatch(Plugin[NoOptions]):
    """Reports hosts, files and processes that a plugin uses without declaring them."""

    def __init__(self, options: NoOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._points = _packages()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        own = type(self).__module__.partition(".")[0]
        places = {
            place: package
            for package, points in self._points.items()
            for point in points
            for place in _places(point)
            if point.module.partition(".")[0] != own
        }
        self._watch = Watch(Owners(places), self._wake)
        self._versions = {
            name: points[0].dist.version for name, points in self._points.items() if points[0].dist
        }
        self._known = {name: list(seen) for name, seen in observed(self._versions).items()}
        self._watch.start()  # before the plugins that are listed after it are imported

    def check(self, zones: Mapping[str, str]) -> Sequence[Any]:
        """Warn of what was seen before."""
        for name, seen in self._known.items():
            for words in seen:
                self._say(name, words)
        return ()

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[None]:
        """Watch with the permissions and options of the plugins that are listed."""
        return self._watching(gateway)

    @asynccontextmanager
    async def _watching(self, gateway: Gateway) -> AsyncGenerator[None]:
        self._loop = asyncio.get_running_loop()
        if not raise_events(self._loop, resolved_names):
            self.log.warning("this event loop cannot be watched: hosts and processes may be missed")
        self._watch.owners.follow(self._loop)
        self._watch.start()
        self._watch.declare(self._declared(gateway))
        async with anyio.create_task_group() as group:
            group.start_soon(self._reporting)
            try:
                yield
            finally:
                self._watch.stop()
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self._record()

    def _declared(self, gateway: Gateway) -> dict[str, Declared]:
        """What each listed package declares; those that declare nothing are not restricted."""
        listed: dict[str, list[Mapping[str, Any]]] = {}
        for _, plugin in cast("list[tuple[str, Plugin[Any]]]", gateway.find(Plugin)):
            listed.setdefault(type(plugin).__module__.partition(".")[0], []).append(
                plugin.options.model_dump()
            )
        python = python_folders()
        found: dict[str, Declared] = {}
        for name, points in self._points.items():
            options = [o for p in points for o in listed.get(p.module.partition(".")[0], ())]
            try:
                allowed = permissions(points[0])
            except PermissionsError:
                continue  # the gateway does not load it
            if allowed is not None:
                own = [place for point in points for place in _places(point)]
                found[name] = Declared(allowed, options, own, python)
        return found

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    async def _reporting(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            with anyio.CancelScope(shield=True):  # what is logged is written, too
                await self._record()

    async def _record(self) -> None:
        """Log and write what is new."""
        new = False
        for name, seen in list(self._watch.seen.items()):
            known = self._known.setdefault(name, [])
            for words in [words for words in list(seen) if words not in known]:
                known.append(words)
                self._say(name, words)
                new = True
        if new:
            await anyio.to_thread.run_sync(self._write)

    def _write(self) -> None:
        for name, seen in observed(self._versions).items():  # of another gateway
            known = self._known.setdefault(name, [])
            known += [words for words in seen if words not in known]
        rows = {
            name: {"version": self._versions.get(name, ""), "seen": seen}
            for name, seen in self._known.items()
            if seen
        }
        try:
            write_file(observed_path(), orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        except OSError as error:
            self.log.warning("cannot write %s: %s", observed_path(), error.strerror)

    def _say(self, package: str, words: str) -> None:
        self.log.warning("`%s` %s, which its permissions do not declare", package, words)


def _packages() -> dict[str, list[EntryPoint]]:
    """The entry points of the installed plugins, by package."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group="plugway"):
        if point.dist is not None:
            found.setdefault(point.dist.name, []).append(point)
    return found


def _places(point: EntryPoint) -> Sequence[str]:
    """The folders of the modules of a package, or the file of its module; nothing is imported."""
    try:
        spec = find_spec(point.module.partition(".")[0])
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    return list(spec.submodule_search_locations or ()) or ([spec.origin] if spec.origin else [])
