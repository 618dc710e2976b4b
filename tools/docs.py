"""The generated parts of the documentation; cog inserts them.

A page contains `<!-- [[[cog from tools import docs; docs.hooks() ]]] -->` … `<!-- [[[end]]] -->`;
`make fix` writes the text between, `make check` fails if it is out of date.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from plugway.config.settings import ServerOptions
from plugway.plugins.hookspecs import Hookspecs, hook_infos
from plugway.plugins.plugin import Plugin
from plugway.types.options import Options
from plugway_wire import errors as _errors

ROOT = Path(__file__).resolve().parent.parent

KINDS = {
    "COLLECT": "all results are collected",
    "FIRST": "the first result that is not None wins",
    "CHAIN": "each gets the result of the previous one",
    "AROUND": "each wraps the ones listed after it",
    "NOTIFY": "all are called; results are ignored",
}


def hooks() -> None:
    """Table and signatures of all hooks, in the order in which an exchange calls them."""
    infos = hook_infos()
    print("| hook | kind | order | if it fails |")
    print("| --- | --- | --- | --- |")
    for name, info in infos.items():
        order = "as listed" if info.inward else "in reverse"
        fails = "the exchange continues" if info.fails == "open" else "the exchange ends"
        print(f"| [`{name}`](#{name}) | {info.kind}: {KINDS[info.kind]} | {order} | {fails} |")
    for name in infos:
        function = getattr(Hookspecs, name)
        print(f"\n### {name}\n\n```python\n{_signature(name, function)}\n```\n")
        print(_prose(function.__doc__ or ""))


def _signature(name: str, function: Any) -> str:
    signature = inspect.signature(function)
    color = "async def" if inspect.iscoroutinefunction(function) else "def"
    typed = [f"{p.name}: {p.annotation}" for p in list(signature.parameters.values())[1:]]
    end = f") -> {signature.return_annotation}: ..."
    line = f"{color} {name}({', '.join(['self', *typed])}{end}"
    if len(line) <= 100:
        return line
    return f"{color} {name}(\n    {', '.join(['self', *typed])}\n{end}"


def errors() -> None:
    """The tree of exceptions, as in the module's docstring."""
    tree = (_errors.__doc__ or "").split("\n\n", 2)[2]
    print("```\n" + inspect.cleandoc(tree) + "\n```")


def server_options() -> None:
    """Table of the `server` section."""
    print(options_table(ServerOptions))


def options(name: str) -> None:
    """Table of a plugin's options."""
    print(options_table(_plugin(name).options_type()))


def catalogue() -> None:
    """Table of the plugins of this repository."""
    print("| plugin | what it does | hooks |")
    print("| --- | --- | --- |")
    for name in plugin_names():
        plugin = _plugin(name)
        summary = _prose(inspect.getdoc(plugin) or "").partition("\n")[0]
        used = [h for h in hook_infos() if _implements(plugin, h)]
        hooks_used = ", ".join(f"`{h}`" for h in used)
        print(f"| [`{name}`](../plugins/{name}/README.md) | {summary} | {hooks_used} |")


def compatibility() -> None:
    """How each backend handles each feature of each client's API, found by running it."""
    from tests.matrix import page  # runs a gateway for each backend: only for this page

    print(page.text(page.found()))


def plugin_names() -> list[str]:
    """Plugins of this repository, by folder name."""
    here = {p.parent.name for p in ROOT.glob("plugins/*/pyproject.toml")}
    return sorted(point.name for point in entry_points(group="plugway") if point.name in here)


def _plugin(name: str) -> type[Plugin[Any]]:
    (point,) = entry_points(group="plugway", name=name)
    plugin: type[Plugin[Any]] = point.load()
    return plugin


def _implements(plugin: type[Plugin[Any]], hook: str) -> bool:
    return hasattr(getattr(plugin, hook, None), "plugway_impl")


def options_table(kind: type[Options]) -> str:
    """A Markdown table of option, default and meaning; nested options are listed below."""
    lines = ["| option | default | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{path}` | {default} | {meaning} |" for path, default, meaning in _rows(kind, "")]
    return "\n".join(lines) if len(lines) > 2 else "No options."


def _rows(kind: type[Options], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in kind.model_fields.items():
        default = _default(field)
        meaning = _prose(field.description or "").replace("\n", " ").replace("|", "\\|")
        values = [f"`{value}`" for value in _choices(field.annotation)]
        if not all(value in meaning for value in values):
            meaning += f" One of {', '.join(values)}."
        yield prefix + name, default, meaning
        inner = field.annotation
        if inspect.isclass(inner) and issubclass(inner, Options):
            yield from _rows(inner, f"{prefix}{name}.")


def _choices(annotation: Any) -> list[Any]:
    """The values of a choice, also of an optional one."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return [value for member in get_args(annotation) for value in _choices(member)]
    return []


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), [], {}, frozenset()):
        return "none"
    return "see below" if isinstance(value, Options) else f"`{value}`"


def _prose(text: str) -> str:
    return re.sub(r"[ \t]+\n", "\n", inspect.cleandoc(text))
