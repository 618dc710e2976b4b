"""`plugway plugins`, and the commands that installed packages provide."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import entry_points

import typer

from plugway.config.approval import approvals_for
from plugway.config.config import Config, default_document
from plugway.plugins.loader import installed
from plugway.types.errors import PluginError
from plugway_packages import packages_of_plugins
from plugway_wire.errors import PlugwayError

COMMAND_GROUP = "plugway.commands"
"""Entry point group of commands: each name is a `typer.Typer`."""


def plugin_rows(config: Config | None) -> list[dict[str, object]]:
    """All installed plugins and the names of their instances in `config`; imports none."""
    entries = config.plugins if config else ()
    return [
        {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "instances": [entry.name for entry in entries if entry.use == plugin.name],
            "conflicts_with": list(plugin.rivals),
        }
        for plugin in installed().values()
    ]


def installed_command_names() -> list[str]:
    """The commands that installed packages provide; imports none."""
    return sorted({point.name for point in entry_points(group=COMMAND_GROUP)})


def packages_of(names: Sequence[str]) -> list[str]:
    """The packages with these names, or with plugins of these names.

    Raises `PlugwayError`: a name is unknown.
    """
    packages = packages_of_plugins()
    plugins = {plugin.name: plugin.distribution for plugin in installed().values()}
    found: set[str] = set()
    for name in names:
        package = name if name in packages else plugins.get(name, "")
        if package not in packages:
            reason = f"no installed plugin or package of plugins is called `{name}`"
            raise PlugwayError(f"{reason}: `plugway plugins` lists them")
        found.add(package)
    return sorted(found)


def installed_command(name: str) -> typer.Typer | None:
    """The command that an installed package provides under this name; only that is imported.

    Raises `PluginError`: two packages provide the name, or it is not a command.
    """
    points = list(entry_points(group=COMMAND_GROUP, name=name))
    if not points:
        return None
    sources = [point.dist.name if point.dist else point.value for point in points]
    if len(points) > 1:
        raise PluginError(name, f"the command is provided by {' and '.join(sources)}", sources[0])
    try:
        found = approvals_for(default_document()).load(points[0])
    except PlugwayError as error:
        raise PluginError(name, f"the command {error}", sources[0]) from error
    if not isinstance(found, typer.Typer):
        raise PluginError(name, f"`{points[0].value}` is not a `typer.Typer`", sources[0])
    return found


def add_command(app: typer.Typer, name: str, command: typer.Typer) -> None:
    """Add the result of `installed_command` to `app`; a group of one command becomes a command."""
    single = not command.registered_groups and command.registered_callback is None
    if single and len(command.registered_commands) == 1:
        info = command.registered_commands[0]
        info.name = name
        app.registered_commands.append(info)
    else:
        app.add_typer(command, name=name)
