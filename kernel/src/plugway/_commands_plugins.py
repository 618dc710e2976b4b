"""`plugway plugins`, and the commands that plugins bring themselves.

Which plugins there are is the loader's knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import typer

from plugway._config import Config
from plugway._errors import PluginError
from plugway._loader import AnyPlugin, installed


def plugin_rows(config: Config | None) -> list[dict[str, object]]:
    """Every installed plugin and the names of its instances in `config`; imports none of them."""
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


def plugin_commands(loaded: Sequence[AnyPlugin]) -> dict[str, typer.Typer]:
    """The commands that plugins bring, by name; a later plugin cannot take an earlier one's."""
    found: dict[str, typer.Typer] = {}
    for plugin in loaded:
        register = getattr(plugin, "register_commands", None)
        offered: object = register() if callable(register) else None
        several = cast("list[object]", offered) if isinstance(offered, list) else [offered]
        for command in several:
            if command is None:
                continue
            name = command.info.name if isinstance(command, typer.Typer) else None
            if not isinstance(command, typer.Typer) or not isinstance(name, str):
                raise PluginError(
                    plugin.name, "`register_commands` must return `typer.Typer` objects with a name"
                )
            found.setdefault(name, command)
    return found
