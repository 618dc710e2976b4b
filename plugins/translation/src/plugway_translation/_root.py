"""Converts the root of a tool's schema to a single object, as every API requires.

OpenAI and Anthropic reject `anyOf`, `oneOf` and `allOf` there ("not have 'oneOf'/'anyOf'/'allOf' at
the top level", "input_schema does not support oneOf, allOf, or anyOf at the top level").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation._notes import Notes

_CHOICES: Final = ("anyOf", "oneOf")
_JOINED: Final = (*_CHOICES, "allOf", "$ref")
_ANSWER: Final = "output_config"
ANSWER: Final = "answer"
"""The property of an object around an answer that is none."""
_SHARED: Final = ("$defs", "definitions")
_PLACES: Final = [[name] for name in _SHARED]
_MOST_NAMED: Final = 20
_MAX_DEPTH: Final = 16

Schema = dict[str, Any]


def find_reference(root: Mapping[str, Any], name: Any) -> Schema | None:
    """Resolve a reference within `root`; None if it does not exist."""
    if not isinstance(name, str) or not name.startswith("#"):
        return None
    found: Any = root
    for part in name[1:].strip("/").split("/") if name != "#" else ():
        found = as_object(found).get(part.replace("~1", "/").replace("~0", "~"))
    return as_object(found) if isinstance(found, dict) else None


def is_object(schema: Any) -> bool:
    """Whether a schema allows nothing but objects, or any value."""
    root = as_object(schema)
    return _is_object(root, root, set())


def _is_object(found: Schema, root: Schema, seen: set[str]) -> bool:
    """`seen` are references whose targets count already."""
    if "type" in found:
        return found["type"] in ("object", ["object"])
    name = found.get("$ref")
    if isinstance(name, str):
        target = None if name in seen else find_reference(root, name)
        seen.add(name)
        return target is None or target is root or _is_object(target, root, seen)
    parts = [as_object(p) for key in (*_CHOICES, "allOf") for p in as_list(found.get(key))]
    if parts:
        return all(_is_object(part, root, seen) for part in parts)
    return found.keys().isdisjoint(("enum", "const", "items", "prefixItems"))


def wrapped(schema: Any) -> Schema:
    """An object with `schema` as its only property, `ANSWER`."""
    root = as_object(schema)
    shared = {key: root[key] for key in _SHARED if key in root}
    inner = {key: _moved(item) for key, item in root.items() if key not in shared}
    made: Schema = {"type": "object", "properties": {ANSWER: inner}, "required": [ANSWER]}
    return {**made, "additionalProperties": False, **_moved(shared)}


def _moved(value: Any) -> Any:
    """`value` with its references to the root's own parts moved with them."""
    if isinstance(value, list):
        return [_moved(item) for item in as_list(value)]
    if not isinstance(value, dict):
        return value
    found = as_object(value)
    made = {key: _moved(item) for key, item in found.items()}
    name = found.get("$ref")
    path = name if isinstance(name, str) else ""
    if (path == "#" or path.startswith("#/")) and path.split("/")[1:2] not in _PLACES:
        made["$ref"] = f"#/properties/{ANSWER}{path[1:].rstrip('/')}"
    return made


def rooted(schema: Any, field: str, notes: Notes) -> Schema:
    """Make one object the root of `schema`, and merge its branches.

    Properties become optional unless every branch requires them; the description lists the choices.
    The root of an answer may be anything.
    """
    root = as_object(schema)
    if field.startswith(_ANSWER) and not is_object(root):
        return root
    if any(key in root for key in _JOINED):
        joined = [key for key in _JOINED if key in root]
        root = _Joiner(root).joined(root, _MAX_DEPTH)
        for key in joined:
            notes.add(
                f"{field}.{key}", "translate", "merged into one object, which the root must be"
            )
    if field.startswith(_ANSWER) and (root.get("type") or "properties" in root):
        return root  # the answer may be any object
    if root.get("type") != "object" or not isinstance(root.get("properties"), dict):
        root = {**root, "type": "object", "properties": as_object(root.get("properties"))}
    return root


class _Joiner:
    """Merges branches of one root."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._known: dict[tuple[str, int], Schema] = {}
        """Merged targets of references: many may lead to the same."""

    def joined(self, schema: Schema, depth: int) -> Schema:
        """A schema with its branches merged and a root reference resolved."""
        if not depth:
            return {key: item for key, item in schema.items() if key not in _JOINED}
        made = {key: item for key, item in schema.items() if key not in _JOINED}
        name = schema.get("$ref")
        target = find_reference(self._root, name)
        if target is not None and target is not self._root:
            made = _both(self._target(str(name), target, depth - 1), made)
        for part in as_list(schema.get("allOf")):
            made = _both(made, self.joined(as_object(part), depth - 1))
        for key in _CHOICES:
            parts = [self.joined(as_object(part), depth - 1) for part in as_list(schema.get(key))]
            parts = [part for part in parts if part.get("type", "object") == "object"]
            if parts:
                made = _one_of(made, parts)
        return made

    def _target(self, name: str, target: Schema, depth: int) -> Schema:
        found = self._known.get((name, depth))
        if found is None:
            found = self._known[name, depth] = self.joined(target, depth)
        return found


def _both(first: Schema, second: Schema) -> Schema:
    """Merge two schemas; the second takes precedence."""
    properties = {**as_object(first.get("properties")), **as_object(second.get("properties"))}
    required = [*as_list(first.get("required")), *as_list(second.get("required"))]
    made = {**first, **second}
    if properties:
        made["properties"] = properties
    if required:
        made["required"] = list(dict.fromkeys(map(str, required)))
    return made


def _one_of(base: Schema, parts: list[Schema]) -> Schema:
    properties: dict[str, list[Any]] = {}
    for part in parts:
        for name, inner in as_object(part.get("properties")).items():
            known = properties.setdefault(name, [])
            if inner not in known:
                known.append(inner)
    own = as_object(base.get("properties"))
    all_of_them = {name: _choice(inner) for name, inner in properties.items()} | own
    needed = [set(map(str, as_list(part.get("required")))) for part in parts]
    shared = {name for name in needed[0] if all(name in names for names in needed)}
    always = [*map(str, as_list(base.get("required"))), *sorted(shared)]
    made = {**base, "properties": all_of_them}
    if always:
        made["required"] = list(dict.fromkeys(always))
    if len(parts) > 1 and any(part.get("additionalProperties") is False for part in parts):
        made.setdefault("additionalProperties", False)
    choices = [", ".join(f"`{name}`" for name in sorted(names)[:_MOST_NAMED]) for names in needed]
    if len(set(choices)) > 1:
        listed = "; or ".join(dict.fromkeys(filter(None, choices)))
        words = as_object(base).get("description")
        made["description"] = f"{words} " if isinstance(words, str) and words else ""
        made["description"] += f"(Give {listed}.)"
    return made


def _choice(inner: list[Any]) -> Any:
    return inner[0] if len(inner) == 1 else {"anyOf": inner}
