"""The gateway that is measured: the one that runs, or one for the duration of the run."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import yaml

from plugway import LocalGateway, PlugwayError
from plugway_packages import Approvals
from plugway_probe import started

NAME = "bench"


@contextmanager
def measured_gateway(config: Path | None, port: int | None) -> Generator[tuple[LocalGateway, bool]]:
    """A running gateway, and whether it was started for this. Raises `PlugwayError`.

    One that is started has the same configuration, with the plugin `bench` as its last.
    """
    gateway = LocalGateway.find(config, port)
    if gateway.state() is not None:
        yield gateway, False
        return
    path = gateway.config_path if gateway.configured else None
    with tempfile.TemporaryDirectory(prefix="plugway-bench-") as folder:
        copy = Path(folder) / "config.yaml"
        copy.touch(mode=0o600)
        copy.write_text(with_plugin(_text_of(path), path), encoding="utf-8")
        with started(copy) as own:
            yield own, True


def with_plugin(text: str, path: Path | None) -> str:
    """The configuration with the plugin `bench`; relative paths of secrets become absolute."""
    untyped: Any = yaml
    root: Any = untyped.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise PlugwayError("the configuration is not a mapping")
    pairs = cast("list[tuple[Any, Any]]", root.value)
    plugins = next((value for key, value in pairs if key.value == "plugins"), None)
    if not isinstance(plugins, yaml.SequenceNode):
        raise PlugwayError("the configuration has no list `plugins`")
    entries = cast("list[Any]", plugins.value)
    if not any(_value(entry, "use") == NAME for entry in entries):
        string = "tag:yaml.org,2002:str"
        entry = (yaml.ScalarNode(string, "use"), yaml.ScalarNode(string, NAME))
        entries.append(yaml.MappingNode("tag:yaml.org,2002:map", [entry]))
    if path is not None:
        for node in _files(root):
            node.value = str(path.absolute().parent / Path(node.value).expanduser())
    return str(untyped.serialize(root, Dumper=yaml.SafeDumper))


def _text_of(path: Path | None) -> str:
    if path is not None:
        return path.read_text("utf-8-sig")
    for point in entry_points(group="plugway.stack"):
        folder = files(cast("ModuleType", Approvals().load(point)))
        return folder.joinpath("stack.yaml").read_text("utf-8")
    raise PlugwayError("there is no configuration: name one with `--config`")


def _value(node: Any, key: str) -> str | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value.value for name, value in pairs if name.value == key), None)


def _files(node: Any) -> Iterator[Any]:
    """The nodes of all `{$file: PATH}`."""
    if isinstance(node, yaml.SequenceNode):
        for item in cast("list[Any]", node.value):
            yield from _files(item)
    elif isinstance(node, yaml.MappingNode):
        for key, value in cast("list[tuple[Any, Any]]", node.value):
            if key.value == "$file" and isinstance(value, yaml.ScalarNode):
                yield value
            else:
                yield from _files(value)
