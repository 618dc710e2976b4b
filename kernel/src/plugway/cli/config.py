"""`plugway config`: the example file, the stack that runs without a file, and the JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from plugway.config.approval import approvals_for
from plugway.config.config import (
    Config,
    EntryOptions,
    PartlyInvalid,
    default_document,
    find_config,
    load_config,
    parse_config,
)
from plugway.config.document import in_order
from plugway.config.settings import ServerOptions
from plugway.plugins.loader import installed, load_class
from plugway.types.errors import ConfigError, PluginError
from plugway.types.options import Options
from plugway_wire.errors import PlugwayError

STACK_GROUP = "plugway.stack"
"""Entry point group of the package whose stack runs without a configuration file."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A ready configuration from an installed package."""

    distribution: str
    text: str
    """The configuration that runs without a file."""
    example: str
    """The configuration to start from, with comments."""
    next_steps: str
    """Text for a user who runs it unchanged."""


def installed_stack() -> Stack:
    """The stack of the only package that provides one. Raises `PlugwayError`."""
    points = sorted(entry_points(group=STACK_GROUP), key=lambda point: point.name)
    if not points:
        raise PlugwayError(
            "no ready stack is installed: install the package `plugway-starter`, "
            "or name a configuration with `--config`"
        )
    if len(points) > 1:
        names = " and ".join(f"`{point.dist.name}`" for point in points if point.dist)
        raise PlugwayError(f"{names} each provide a ready stack: uninstall all but one")
    point = points[0]
    distribution = point.dist.name if point.dist else point.name
    try:
        folder = resources.files(cast("ModuleType", approvals_for(default_document()).load(point)))
        return Stack(
            distribution,
            folder.joinpath("stack.yaml").read_text("utf-8"),
            folder.joinpath("config.example.yaml").read_text("utf-8"),
            folder.joinpath("next-steps.txt").read_text("utf-8").rstrip(),
        )
    except PlugwayError as error:
        raise PluginError(point.name, f"the ready stack {error}", distribution) from error
    except OSError as error:
        reason = f"cannot read its ready stack: {type(error).__name__}"
        raise PluginError(point.name, reason, distribution) from error


def chosen_config(
    explicit: Path | None = None, overrides: Mapping[str, object] | None = None
) -> Config:
    """The configuration to run: the file if there is one, else the installed stack."""
    path = find_config(explicit)
    if path is None:
        return stack_config(overrides)
    try:
        return load_config(path, overrides)
    except ConfigError as error:
        raise all_problems(error) from None


def listed_config(explicit: Path | None = None) -> Config | None:
    """The same, but None if there is neither a file nor a stack."""
    path = find_config(explicit)
    if path is not None:
        return load_config(path)
    try:
        return stack_config()
    except PlugwayError:
        return None


def all_problems(error: ConfigError) -> ConfigError:
    """`error` with the problems that the plugins listed in the same file report."""
    if not isinstance(error, PartlyInvalid):
        return error
    from plugway.http.snapshot import problems_of_plugins  # slow to import

    return ConfigError(in_order([*error.problems, *problems_of_plugins(error.rest)]))


def stack_config(overrides: Mapping[str, object] | None = None) -> Config:
    """The configuration of the installed stack."""
    stack = installed_stack()
    return parse_config(stack.text, f"stack of {stack.distribution}", overrides)


def config_schema(config: Config | None) -> dict[str, object]:
    """The JSON schema of configurations, with the options of the plugins in `config`."""
    definitions: dict[str, object] = {"secret": _secret_schema()}
    known = installed()
    listed = dict.fromkeys(entry.use for entry in config.plugins) if config else {}
    approvals = approvals_for(config.document if config else None)
    branches = [
        _plugin_branch(name, load_class(known[name], approvals).options_type(), definitions)
        for name in listed
        if name in known
    ]
    entry = _hoisted(EntryOptions, "entry", definitions)
    properties = cast("dict[str, Any]", entry["properties"])
    properties["use"]["examples"] = list(known)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Plugway configuration",
        "type": "object",
        "additionalProperties": False,
        "required": ["plugins"],
        "properties": {
            "server": _hoisted(ServerOptions, "server", definitions),
            "plugins": {"type": "array", "items": {**entry, "allOf": branches}},
        },
        "$defs": definitions,
    }


def _plugin_branch(
    name: str, model: type[Options], definitions: dict[str, object]
) -> dict[str, object]:
    options = _hoisted(model, name, definitions)
    return {
        "if": {"properties": {"use": {"const": name}}},
        "then": {"properties": {"options": {"anyOf": [options, {"type": "null"}]}}},
    }


def _hoisted(model: type[Options], prefix: str, definitions: dict[str, object]) -> dict[str, Any]:
    """A model's schema; its inner definitions move into `definitions`, with `prefix`."""
    schema = model.model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    inner = cast("dict[str, Any]", schema.pop("$defs", {}))
    definitions.update({f"{prefix}.{name}": _with_references(inner[name]) for name in inner})
    return _with_references(schema)


def _with_references(schema: Any) -> Any:
    """`schema`, where every scalar may also be a secret reference."""
    if isinstance(schema, list):
        return [_with_references(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    items = cast("dict[str, Any]", schema)
    if items.get("type") in ("string", "integer", "number", "boolean"):
        outer = {key: items[key] for key in ("title", "description", "default") if key in items}
        rest = {key: value for key, value in items.items() if key not in outer}
        return {**outer, "anyOf": [rest, {"$ref": "#/$defs/secret"}]}
    return {
        key: value if key in ("default", "enum", "const") else _with_references(value)
        for key, value in items.items()
    }


def _secret_schema() -> dict[str, object]:
    return {
        "description": "A value that is stored elsewhere.",
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {
            "$env": {"type": "string", "description": "Name of an environment variable."},
            "$file": {"type": "string", "description": "Path of a file that only you can read."},
            "$keyring": {"type": "string", "description": "Name in the system's keyring."},
        },
    }
