"""Adds servers to the text of a configuration, and removes them; everything else stays as it is.

Only block style is edited, as people write it; for other text there is a reason instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import yaml

_BEFORE: Final = frozenset({"dashboard", "auto-mode", "gemini-api", "openai-api"})
"""Plugins that `mcp` is listed after in the example, if it is added; all others follow it."""
_STEP: Final = 2


class CannotEdit(Exception):
    """The text has to be edited by hand; the message says why."""


def block(name: str, options: Mapping[str, Any], indent: int = 0) -> str:
    """The entry of a server, each line with `indent` spaces before it."""
    text = yaml.safe_dump(
        {name: dict(options)},
        sort_keys=False,
        allow_unicode=True,
        width=1000,
        default_flow_style=None,
    )
    return "".join(f"{' ' * indent}{line}\n" for line in text.splitlines())


def with_server(text: str, name: str, options: Mapping[str, Any]) -> str:
    """The configuration with another server. Raises `CannotEdit`."""
    stack = _stack(text)
    entry = _entry(stack)
    if entry is None:
        return _with_entry(text, stack, name, options)
    _block_only(entry, "the entry of `mcp`")
    given = _member(entry, "options")
    if given is None or _is_empty(given[1]):
        indent = _column(entry) + _STEP
        lines = f"{' ' * (indent - _STEP)}options:\n{' ' * indent}servers:\n"
        new = lines + block(name, options, indent + _STEP)
        return _replaced(text, given, new) if given else _inserted(text, _end(entry), new)
    _block_only(given[1], "`options` of `mcp`")
    servers = _member(given[1], "servers")
    if servers is None or _is_empty(servers[1]):
        indent = _column(given[1])
        new = f"{' ' * indent}servers:\n" + block(name, options, indent + _STEP)
        return _replaced(text, servers, new) if servers else _inserted(text, _end(given[1]), new)
    _block_only(servers[1], "`servers`")
    if _member(servers[1], name) is not None:
        raise CannotEdit(f"there is a server `{name}` already")
    return _inserted(text, _end(servers[1]), block(name, options, _column(servers[1])))


def without_server(text: str, name: str) -> str:
    """The configuration without a server. Raises `CannotEdit`."""
    entry = _entry(_stack(text))
    given = _member(entry, "options") if entry is not None else None
    servers = _member(given[1], "servers") if given else None
    found = _member(servers[1], name) if servers else None
    if servers is None or found is None:
        raise CannotEdit(f"there is no server `{name}`")
    _block_only(servers[1], "`servers`")
    last = len(servers[1].value) == 1
    return _replaced(text, servers if last else found, "")


Pair = tuple[yaml.ScalarNode, yaml.Node]


def _stack(text: str) -> yaml.SequenceNode:
    try:
        root = cast("yaml.Node | None", yaml.compose(text, yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
    except yaml.YAMLError as error:
        raise CannotEdit("it is not valid YAML: run `plugway check`") from error
    found = _member(root, "plugins")
    if found is None or not isinstance(found[1], yaml.SequenceNode) or found[1].flow_style:
        raise CannotEdit("`plugins` is not a list with one entry on each line")
    return found[1]


def _entry(stack: yaml.SequenceNode) -> yaml.MappingNode | None:
    """The first entry of `mcp`."""
    for item in _items(stack):
        if _used(item) == "mcp":
            return cast("yaml.MappingNode", item)
    return None


def _used(item: yaml.Node) -> str:
    found = _member(item, "use")
    return str(found[1].value) if found is not None else ""


def _items(node: yaml.SequenceNode) -> Sequence[yaml.Node]:
    return cast("list[yaml.Node]", node.value)


def _pairs(node: yaml.Node | None) -> Iterator[Pair]:
    if isinstance(node, yaml.MappingNode):
        yield from cast("list[Pair]", node.value)


def _member(node: yaml.Node | None, key: str) -> Pair | None:
    return next((pair for pair in _pairs(node) if pair[0].value == key), None)


def _is_empty(node: yaml.Node) -> bool:
    return node.value in ("", "~", "null", [])


def _block_only(node: yaml.Node, what: str) -> None:
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        raise CannotEdit(f"{what} is written in braces, on one line")


def _column(node: yaml.Node) -> int:
    return cast("int", node.start_mark.column)


def _end(node: yaml.Node) -> int:
    """The line after the last one of a node, without comments and blank lines that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = cast("list[Any]", node.value)[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    mark = node.end_mark
    block_scalar = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return cast("int", mark.line if block_scalar else mark.line + 1)


def _inserted(text: str, line: int, new: str) -> str:
    lines = _lines(text)
    return "".join([*lines[:line], new.replace("\n", _ending(text)), *lines[line:]])


def _replaced(text: str, pair: Pair, new: str) -> str:
    lines = _lines(text)
    first = cast("int", pair[0].start_mark.line)
    if lines[first][: _column(pair[0])].strip():
        raise CannotEdit("several values are on one line")
    new = new.replace("\n", _ending(text))
    return "".join([*lines[:first], new, *lines[_end(pair[1]) :]])


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += _ending(text)
    return lines


def _ending(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _with_entry(text: str, stack: yaml.SequenceNode, name: str, options: Mapping[str, Any]) -> str:
    """With an entry of `mcp` at its place in the stack."""
    items = _items(stack)
    if not items:
        raise CannotEdit("`plugins` is empty")
    dash = _column(stack)
    new = f"{' ' * dash}- use: mcp\n{' ' * dash}  options:\n{' ' * dash}    servers:\n"
    new += block(name, options, dash + 6)
    before = 0
    for number, item in enumerate(items):
        if _used(item) in _BEFORE:
            before = number + 1
    line = _end(items[before - 1]) if before else cast("int", items[0].start_mark.line)
    return _inserted(text, line, new)
