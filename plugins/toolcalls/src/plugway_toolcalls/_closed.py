"""Decide which objects of a schema are closed: no members other than those that it lists.

Used for grammars (`_schema`): a weak model that may add any other member never ends a call. The
later validation is as open as JSON Schema defines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._references import resolve

_SPEAKS_OF_MORE: Final = {
    "additionalProperties", "patternProperties", "propertyNames", "minProperties",
    "unevaluatedProperties", "if", "dependentSchemas", "dependencies", "$dynamicRef",
    "$recursiveRef",
}  # fmt: skip


def is_open(node: Mapping[str, Any]) -> bool:
    """Whether the object's own keywords allow members other than its `properties`."""
    return any(node[key] is not False for key in _SPEAKS_OF_MORE & node.keys())


def parts_of_others(root: dict[str, Any]) -> frozenset[int]:
    """The `id` of each schema that lists only part of an object's members, and of all inside it.

    Such an object gets members from several places, as from `properties` and `allOf`. Closing one
    of them would forbid the members of the others.
    """
    nodes = _objects(root, root, set())
    declaring = _declaring(nodes, root)
    marked: set[int] = set()
    for node in nodes:
        places = [any(id(part) in declaring for part in group) for group in _groups(node, root)]
        if sum(places) + ("properties" in node) > 1:
            _objects(node, root, marked)
    return frozenset(marked)


def _objects(start: Any, root: dict[str, Any], seen: set[int]) -> list[dict[str, Any]]:
    """All objects in `start` and in its references; the `id` of each is added to `seen`."""
    found: list[dict[str, Any]] = []
    stack: list[Any] = [start]
    while stack:
        item = stack.pop()
        stack.extend(as_list(item))
        node = as_object(item)
        if node and id(node) not in seen:
            seen.add(id(node))
            found.append(node)
            stack.extend(node.values())
            stack.extend(_target(node, root))
    return found


def _declaring(nodes: list[dict[str, Any]], root: dict[str, Any]) -> set[int]:
    """The `id` of each schema that lists members, itself or by combining others."""
    users: dict[int, list[int]] = {}
    for node in nodes:
        for group in _groups(node, root):
            for part in group:
                users.setdefault(id(part), []).append(id(node))
    found: set[int] = set()
    stack = [id(node) for node in nodes if "properties" in node]
    while stack:
        number = stack.pop()
        if number not in found:
            found.add(number)
            stack.extend(users.get(number, ()))
    return found


def _groups(node: dict[str, Any], root: dict[str, Any]) -> Iterator[list[Any]]:
    """The groups that `node` combines; a value matches one or all of a group, and every group."""
    yield from ([part] for part in as_list(node.get("allOf")))
    yield _target(node, root)
    yield as_list(node.get("anyOf"))
    yield as_list(node.get("oneOf"))


def _target(node: dict[str, Any], root: dict[str, Any]) -> list[Any]:
    reference = node.get("$ref")
    return [resolve(root, reference)] if isinstance(reference, str) else []
