"""A configuration brought to life: what is checked when its parts meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from plugway._config import Config, parse_config
from plugway._errors import ConfigError
from plugway._hookspecs import hookimpl
from plugway._plugin import NoOptions, Plugin
from plugway._snapshot import Snapshot

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
