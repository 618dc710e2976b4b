"""The members that a schema allows in an object, including by references and branches.

Unclear cases allow anything; arguments are validated afterwards (`_validate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._references import resolve
from plugway_toolcalls._schema import any_value
from plugway_toolcalls._tools import kind_of

_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class Members:
    """The members that an object may have."""

    known: Mapping[str, Any]
    """Schemas by name."""
    required: frozenset[str]
    more: Any
    """The schema of other members; None: there may be none."""


_ANYTHING: Final = Members({}, frozenset(), any_value())

_UNSAID: Final[Any] = object()
"""The schema does not restrict members other than the listed ones."""


def members_of(schema: Mapping[str, Any]) -> Members:
    """The members of objects that match `schema`; may allow more.

    If it lists members and does not mention others, there are none: a weak model that may add any
    other member never ends a call. llama.cpp's converter interprets schemas in the same way.
    """
    found = _members(schema, schema, 0, {})
    unlisted = {name: any_value() for name in sorted(found.required) if name not in found.known}
    known = {**found.known, **unlisted}
    more = found.more
    if more is _UNSAID:
        more = None if "properties" in schema or known else any_value()
    return Members(known, found.required, more)


def _members(
    schema: Mapping[str, Any], root: Mapping[str, Any], depth: int, met: dict[str, Members]
) -> Members:
    """`met`: those of the references followed so far."""
    if depth > _DEPTH:
        return _ANYTHING
    found = _own(schema)
    for part in as_list(schema.get("allOf")):
        found = _both(found, _members(as_object(part), root, depth + 1, met))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference not in met:
            met[reference] = _ANYTHING  # within itself
            target = as_object(resolve(root, reference))
            met[reference] = _members(target, root, depth + 1, met)
        found = _both(found, met[reference])
    for key in ("anyOf", "oneOf"):
        branches = [_members(as_object(b), root, depth + 1, met) for b in as_list(schema.get(key))]
        if branches:
            found = _both(found, _either(branches, alone=not found.known))
    return found


def _own(schema: Mapping[str, Any]) -> Members:
    known = {k: v for k, v in as_object(schema.get("properties")).items() if v is not False}
    more = schema.get("additionalProperties", _UNSAID)
    if schema.get("patternProperties") or more is True:
        more = any_value()
    names = (name for name in as_list(schema.get("required")) if isinstance(name, str))
    if known.pop("", None) is not None:  # no rule of a grammar is for a member without a name
        more = any_value()
    return Members(known, frozenset(names), None if more is False else more)


def _both(one: Members, other: Members) -> Members:
    known = {**one.known}
    for name, value in other.known.items():
        known[name] = {"allOf": [known[name], value]} if name in known else value
    more = other.more if one.more is _UNSAID or other.more is None else one.more
    return Members(known, one.required | other.required, more)


def _either(branches: list[Members], *, alone: bool) -> Members:
    """Members that match one of the branches; `alone`: nothing else lists members."""
    known: dict[str, list[Any]] = {}
    for branch in branches:
        for name, value in branch.known.items():
            known.setdefault(name, []).append(value)
    mores = [branch.more for branch in branches]
    # A member that a branch does not list may be anything there, unless the branch is closed.
    named = {
        name: _one_of(values)
        if all(name in branch.known or branch.more is None for branch in branches)
        else any_value()
        for name, values in known.items()
    }
    required = frozenset[str].intersection(*(branch.required for branch in branches))
    free = alone and any(b.more is _UNSAID and not b.known for b in branches)
    if free or any(more is not None and more is not _UNSAID for more in mores):
        return Members(named, required, any_value())
    return Members(named, required, _UNSAID if _UNSAID in mores else None)


def _one_of(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else {"anyOf": values}


def kinds_of(schema: Mapping[str, Any], root: Mapping[str, Any]) -> set[str]:
    """The types that a value may have; empty if unknown."""
    return _kinds(schema, root, 0, {}) or set()


def _kinds(
    schema: Mapping[str, Any], root: Mapping[str, Any], depth: int, met: dict[str, set[str] | None]
) -> set[str] | None:
    """None for a reference back to a schema around this one, which adds no type."""
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return {kinds}
    if isinstance(kinds, list):
        return {str(kind) for kind in as_list(kinds)}
    values = as_list(schema.get("enum")) or ([schema["const"]] if "const" in schema else [])
    if values:
        return {kind_of(value) for value in values}
    if depth > _DEPTH:
        return set()
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference not in met:
            met[reference] = None
            target = as_object(resolve(root, reference))
            met[reference] = _kinds(target, root, depth + 1, met)
        return met[reference]
    parts = [_kinds(as_object(part), root, depth + 1, met) for part in as_list(schema.get("allOf"))]
    if known := [part for part in parts if part]:
        return set[str].intersection(*known)
    branches = [*as_list(schema.get("anyOf")), *as_list(schema.get("oneOf"))]
    found = [_kinds(as_object(branch), root, depth + 1, met) for branch in branches]
    said = [kinds for kinds in found if kinds is not None]
    return set[str]().union(*said) if all(said) else set()
