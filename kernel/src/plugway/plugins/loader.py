"""Finds installed plugins, and creates the instances that a configuration lists."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from plugway.config.approval import Approvals
from plugway.config.config import Config, PluginEntry
from plugway.config.document import did_you_mean
from plugway.config.secrets import is_reference
from plugway.plugins.hookspecs import PROJECT, REPLY_HOOKS
from plugway.plugins.plugin import Plugin
from plugway.types.errors import PluginError, Problem
from plugway_log import redact
from plugway_packages import permissions, startup_files
from plugway_wire.errors import PlugwayError

GROUP = "plugway"
"""Entry point group of plugins."""

AnyPlugin = Plugin[Any]


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed plugin, not yet imported."""

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint
    rivals: tuple[str, ...] = ()
    """Other distributions with a plugin of this name; a plugin that has any is not loaded."""


def installed() -> Mapping[str, Installed]:
    """All installed plugins by name; nothing is imported."""
    found: dict[str, Installed] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        distribution = point.dist.name if point.dist else "unknown"
        version = point.dist.version if point.dist else ""
        first = found.get(point.name)
        rivals = (*first.rivals, distribution) if first else ()
        base = first or Installed(point.name, distribution, version, point)
        found[point.name] = Installed(
            base.name, base.distribution, base.version, base.entry_point, rivals
        )
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """The result of loading the listed plugins."""

    plugins: tuple[AnyPlugin, ...]
    """The instances that could be created."""
    problems: tuple[Problem, ...]
    """The problems of the others."""
    classes: Mapping[str, type[AnyPlugin] | None]
    """The class of each value of `use`; None if it could not be loaded."""


def find_plugins(config: Config, registry: Mapping[str, Installed] | None = None) -> Found:
    """Load as many of the listed plugins as possible.

    Only listed plugins are imported, each once. It may block on the system's keyring, so call it in
    a thread if an event loop is running.
    """
    known = installed() if registry is None else registry
    refused = startup_files().refused
    problems = [Problem(str(file.path), "", file.reason, file.fix) for file in refused]
    classes: dict[str, type[AnyPlugin] | None] = {}
    plugins: list[AnyPlugin] = []
    approvals = Approvals(document=config.document)
    for entry in config.plugins:
        if entry.use not in classes:
            classes[entry.use] = _find(config, entry, known, approvals, problems)
        plugin_class = classes[entry.use]
        if plugin_class is None:
            continue
        plugin = _instance(config, entry, plugin_class, known[entry.use], problems)
        if plugin is not None:
            plugins.append(plugin)
    problems += _order_problems(config, classes)
    return Found(tuple(plugins), tuple(problems), classes)


def load_class(plugin: Installed, approvals: Approvals) -> type[AnyPlugin]:
    """Import a plugin's class. Raises `PluginError`, which names the distribution."""

    def fail(reason: str) -> PluginError:
        return PluginError(plugin.name, reason, f"{plugin.distribution} {plugin.version}".strip())

    if plugin.rivals:
        rivals = ", ".join(f"`{name}`" for name in plugin.rivals)
        raise fail(f"the name is also claimed by {rivals}; uninstall all but one")
    try:
        allowed = permissions(plugin.entry_point)
        found = approvals.load(plugin.entry_point)
    except PlugwayError as error:
        raise fail(f"`{plugin.entry_point.value}` {error}") from error
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        kind = f"class `{found.__name__}`" if isinstance(found, type) else type(found).__name__
        raise fail(f"`{plugin.entry_point.value}` is a {kind}, not a subclass of `plugway.Plugin`")
    plugin_class = cast("type[AnyPlugin]", found)
    if allowed and (hooks := allowed.undeclared_hooks(plugin_class, f"{PROJECT}_impl")):
        raise fail(f"its permissions do not declare the hook `{'`, `'.join(hooks)}`")
    return plugin_class


def _find(
    config: Config,
    entry: PluginEntry,
    known: Mapping[str, Installed],
    approvals: Approvals,
    problems: list[Problem],
) -> type[AnyPlugin] | None:
    place = ("plugins", entry.index, "use")
    if entry.use not in known:
        reason = f"no installed plugin is called `{entry.use}`"
        hint = did_you_mean(entry.use, list(known))
        install = "install the package that provides it"
        fix = f"{hint} If not, {install}" if hint else install
        problems.append(config.document.problem(place, reason, fix))
        return None
    try:
        return load_class(known[entry.use], approvals)
    except PluginError as error:
        problems.append(config.document.problem(place, str(error)))
        return None


def _instance(
    config: Config,
    entry: PluginEntry,
    plugin_class: type[AnyPlugin],
    source: Installed,
    problems: list[Problem],
) -> AnyPlugin | None:
    place = ("plugins", entry.index)
    try:
        allowed = permissions(source.entry_point)
        if allowed and (secret := allowed.undeclared_secrets(entry.options, is_reference)):
            reason = f"`{entry.use}` does not declare this option as a secret in its permissions"
            problems += [config.document.problem((*place, "options", *at), reason) for at in secret]
            return None
        built = config.options_of(entry, plugin_class.options_type())
        problems += built.problems
        return plugin_class(built.options, name=entry.name) if built.options is not None else None
    except KeyboardInterrupt:
        raise
    except PlugwayError as error:
        problems.append(config.document.problem(place, redact(str(error))))
        return None
    except BaseException as error:  # validators and constructors are the plugin's own code
        kind = type(error).__name__  # the message might contain a secret
        frame = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"raised {kind} in `{frame.name}` (line {frame.lineno} of `{frame.filename}`)"
        broken = PluginError(entry.use, reason, f"{source.distribution} {source.version}".strip())
        problems.append(config.document.problem(place, str(broken)))
        return None


def _order_problems(config: Config, classes: Mapping[str, type[AnyPlugin] | None]) -> list[Problem]:
    problems: list[Problem] = []
    listed = {entry.use for entry in config.plugins}
    for entry in config.plugins:
        plugin_class = classes[entry.use]
        if plugin_class is None:
            continue
        place = ("plugins", entry.index)
        for name in plugin_class.requires:
            if name not in listed:
                reason = f"`{entry.use}` needs the plugin `{name}`, which is not listed"
                problems.append(config.document.problem(place, reason, f"add `- use: {name}`"))
        for other in config.plugins[: entry.index]:
            if other.use != entry.use and _belongs_inside(other.use, classes, plugin_class):
                there = config.document.position(("plugins", other.index))
                reason = f"`{entry.name}` must be listed before `{other.name}`, which is at {there}"
                problems.append(config.document.problem(place, reason, "move one of the entries"))
    return problems


def _belongs_inside(
    name: str, classes: Mapping[str, type[AnyPlugin] | None], outer: type[AnyPlugin]
) -> bool:
    """Whether the plugin `name` must be listed after `outer`."""
    changes_replies = any(hasattr(classes[name], hook) for hook in REPLY_HOOKS)
    return name in outer.outside or (outer.seals_replies and changes_replies)
