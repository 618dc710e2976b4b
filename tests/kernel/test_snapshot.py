"""A configuration brought to life: what is checked when its parts meet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, runtime_checkable

import anyio
import pytest

from plugway import Gateway
from plugway.config.config import Config, parse_config
from plugway.http.snapshot import Snapshot
from plugway.plugins.hookspecs import hookimpl
from plugway.plugins.plugin import Plugin
from plugway.testing import PlainBackend, build_plugin
from plugway.types.errors import ConfigError, PluginError
from plugway.types.options import NoOptions

TEXT = """
plugins:
  - use: echo
    name: mine
    options:
      models:
        "*": [plain/a, nowhere/b]
"""


class Plain(Plugin[NoOptions]):
    """Plugin and backend in one; never asked."""

    zone = "local"

    @hookimpl
    def register_backends(self):
        return [self]

    async def send(self, request, attempt):
        raise AssertionError

    async def count(self, request, attempt):
        raise AssertionError

    async def models(self):
        raise AssertionError


class Picky(Plugin[NoOptions]):
    """Finds fault with what it is told to find fault with."""

    flaws: Sequence[tuple[tuple[str | int, ...], str]] = ()
    zones: Mapping[str, str] | None = None

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        self.zones = zones
        return self.flaws


def snapshot(*plugins: Plugin[Any], config: Config | None = None) -> Snapshot:
    plain = Plain(NoOptions(), name="plain")
    return Snapshot(config or parse_config(TEXT, "c.yaml"), [*plugins, plain])


def picky(*flaws: tuple[tuple[str | int, ...], str], name: str = "mine") -> Picky:
    plugin = Picky(NoOptions(), name=name)
    plugin.flaws = flaws
    return plugin


def test_plugins_check_their_options_against_the_zones_of_all_backends() -> None:
    plugin = picky()
    snapshot(plugin)
    assert plugin.zones == {"plain": "local"}


@pytest.mark.parametrize("answer", [None, [3], ["no such backend"]])
def test_a_check_that_answers_no_list_of_flaws_is_told_by_name(answer: Any) -> None:
    plugin = picky()
    plugin.flaws = answer
    with pytest.raises(PluginError, match="plugin `mine`: `check` must return a list"):
        snapshot(plugin)


def test_flaws_are_told_together_and_at_their_lines() -> None:
    plugin = picky((("models", "*", 1), "no such backend"), (("aliases", "x"), "goes in circles"))
    with pytest.raises(ConfigError) as caught:
        snapshot(plugin)
    assert [str(problem) for problem in caught.value.problems] == [
        "c.yaml:5:5: `plugins[0].options.aliases.x`: goes in circles",
        "c.yaml:7:24: `plugins[0].options.models.*[1]`: no such backend",
    ]


def test_flaws_of_a_plugin_that_is_in_no_file_are_named_after_it() -> None:
    with pytest.raises(ConfigError, match=r"`other\.models\.\*\[1\]`: no such backend"):
        snapshot(picky((("models", "*", 1), "no such backend"), name="other"))


def test_every_limit_of_the_server_section_reaches_the_pipeline() -> None:
    text = (
        "server: {first_event_seconds: 1, first_event_local_seconds: 2, ping_seconds: 3,"
        " idle_seconds: 4, stalled_client_seconds: 5, max_streams: 6}\nplugins: []"
    )
    limits = snapshot(config=parse_config(text)).exchanges.limits
    assert (limits.first_event_seconds, limits.first_event_local_seconds) == (1, 2)
    assert (limits.ping_seconds, limits.idle_seconds) == (3, 4)
    assert (limits.stalled_client_seconds, limits.max_streams) == (5, 6)


class Holds(Plugin[NoOptions]):
    """Holds something open, and fails where it is told to."""

    events: list[str]
    fails = ""
    go: anyio.Event

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        return self._live()

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        if self.fails == "start":
            raise ValueError("cannot open")
        self.events.append(f"open {self.name}")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._background)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self.events.append(f"close {self.name}")
        if self.fails == "end":
            raise ValueError("cannot close")

    async def _background(self) -> None:
        await self.go.wait()
        raise ValueError("the task died")


def holding(events: list[str], fails: str = "") -> list[Holds]:
    found = [Holds(NoOptions(), name=name) for name in ("a", "b", "c")]
    for plugin in found:
        plugin.events, plugin.go = events, anyio.Event()
    found[1].fails = fails
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("fails", ["", "end"])
async def test_what_plugins_hold_is_closed_in_reverse_whatever_one_of_them_raises(
    fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    found = snapshot(*holding(events, fails))
    async with anyio.create_task_group() as tasks:
        await tasks.start(found.run)
        found.close()
        await found.closed.wait()
    assert events == ["open a", "open b", "open c", "close c", "close b", "close a"]
    assert ("cannot close" in caplog.text) == (fails == "end")


@pytest.mark.anyio
async def test_a_task_of_a_plugin_that_dies_closes_nothing_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[str] = []
    plugins = holding(events)
    found = snapshot(*plugins)
    async with anyio.create_task_group() as tasks:
        await tasks.start(found.run)
        plugins[0].go.set()
        with anyio.fail_after(5):
            while len(events) < 4:
                await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        assert events[3:] == ["close a"]
        assert not found.closed.is_set()
        found.close()
    assert events[4:] == ["close c", "close b"]
    assert "plugin `a`" in caplog.text
    assert "the task died" in caplog.text


@pytest.mark.anyio
async def test_a_plugin_that_does_not_start_is_named_and_the_others_are_closed(caplog) -> None:
    events: list[str] = []
    found = snapshot(*holding(events, "start"))
    with pytest.raises(PluginError, match="`lifespan` failed at start: ValueError: cannot open"):
        await found.run(task_status=anyio.TASK_STATUS_IGNORED)
    assert events == ["open a", "close a"]
    assert found.closed.is_set()
    assert "`lifespan` failed at start: ValueError: cannot open" in caplog.text


@runtime_checkable
class Sings(Protocol):
    def sing(self) -> str: ...


class Bird(Plugin[NoOptions]):
    def sing(self) -> str:
        return self.name


class Cage(Plugin[NoOptions]):
    """Brings a backend that sings, and does not sing itself."""

    @hookimpl
    def register_backends(self) -> list[Any]:
        bird = build_plugin(PlainBackend, "parrot")
        bird.sing = lambda: "parrot"
        return [bird]


class Robot(PlainBackend):
    """Plugin and backend in one."""

    def sing(self) -> str:
        return "beep"


def test_what_another_plugin_or_backend_offers_is_found_by_its_protocol() -> None:
    plugins = [
        build_plugin(kind, name)
        for kind, name in ((Bird, "wren"), (Cage, "cage"), (Robot, "robot"), (PlainBackend, "mute"))
    ]
    found = Snapshot(parse_config("plugins: []", "test"), plugins).gateway.find(Sings)
    assert [name for name, _ in found] == ["wren", "robot", "parrot"]
    assert [one.sing() for _, one in found] == ["wren", "beep", "parrot"]
