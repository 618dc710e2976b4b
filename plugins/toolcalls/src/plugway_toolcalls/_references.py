"""Targets of local references in a schema, and references that never end.

See `_schema` and `_members` for what a schema means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

from plugway import as_list, as_object

MAX_DEPTH: Final = 64
MAX_REFERENCES: Final = 200
_CHAIN: Final = 16


class SchemaTooLarge(ValueError):
    """The schema is rejected; the message has the reason."""


def resolve(root: Mapping[str, Any], ref: str) -> Any:
    """The target of a local reference; None if it does not exist."""
    target: Any = root
    for step in ref.removeprefix("#").split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isascii() and name.isdigit():
            at = int(name[:9])
            target = as_list(target)[at] if at < len(as_list(target)) else None
        else:
            target = as_object(target).get(name)
    return as_object(target) if isinstance(target, dict) else target is True or None


def endless_references(root: dict[str, Any]) -> frozenset[str]:
    """The references that no finite value can satisfy, such as one to itself."""
    targets = {ref: resolve(root, ref) for ref in set(_refs(root)) if ref.startswith("#")}
    if len(targets) > MAX_REFERENCES:
        raise SchemaTooLarge(f"the schema has more than {MAX_REFERENCES} different references")
    alive: set[str] = set()
    while True:
        found = {ref for ref, target in targets.items() if _ends(target, alive, 0)}
        if found == alive:
            return frozenset(targets.keys() - alive)
        alive = found


def _refs(root: Any) -> Iterator[str]:
    stack = [root]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(as_list(item))
            continue
        entries = as_object(item)
        if isinstance(entries.get("$ref"), str):
            yield entries["$ref"]
        stack.extend(entries.values())


def _ends(node: Any, alive: set[str], depth: int) -> bool:
    """Whether a finite value satisfies `node`, given the references that have one."""
    if not isinstance(node, dict) or depth > MAX_DEPTH:
        return node is not False
    data = as_object(node)
    ref = data.get("$ref")
    if isinstance(ref, str) and ref.startswith("#") and ref not in alive:
        return False
    if not all(_ends(item, alive, depth + 1) for item in as_list(data.get("allOf"))):
        return False
    for key in ("anyOf", "oneOf"):
        options = as_list(data.get(key))
        if options and not any(_ends(item, alive, depth + 1) for item in options):
            return False
    kinds = data.get("type")
    if isinstance(kinds, list) and not set(as_list(kinds)) <= {"object", "array"}:
        return True
    return _members_end(data, alive, depth)


def _members_end(data: dict[str, Any], alive: set[str], depth: int) -> bool:
    properties = as_object(data.get("properties"))
    for name in as_list(data.get("required")):
        if isinstance(name, str) and not _ends(properties.get(name, {}), alive, depth + 1):
            return False
    if _demands_items(data):
        return _ends(data.get("items", {}), alive, depth + 1)
    return True


def _demands_items(data: dict[str, Any]) -> bool:
    least = data.get("minItems", 0)
    return isinstance(least, int | float) and least > 0


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` with what its own `$ref` refers to in `root`, if anything."""
    found = as_object(schema)
    for _ in range(_CHAIN):
        reference = found.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target = as_object(resolve(root, reference))
        found = {**target, **{key: item for key, item in found.items() if key != "$ref"}}
    return found
