"""Converts Gemini's schemas to JSON Schema. Pure functions.

`Schema` in https://ai.google.dev/api/caching#Schema is OpenAPI 3.0 with upper-case types, integers
as strings, and `nullable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_gemini_api._fields import named
from plugway_translation import Notes

_COUNTS: Final = frozenset(
    ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
)
_ONE: Final = ("items", "additionalProperties")
_LISTS: Final = ("anyOf", "prefixItems", "oneOf", "allOf")
_NAMED: Final = ("properties", "$defs")
_RENAMED: Final = {"defs": "$defs", "ref": "$ref"}


def json_schema(schema: Any) -> dict[str, Any]:
    """Convert a schema. Unknown fields are kept."""
    found: dict[str, Any] = {}
    given = named(schema)
    nullable = given.pop("nullable", None) is True
    for name, value in given.items():
        name = _RENAMED.get(name, name)
        if name == "type" and isinstance(value, str):
            if not value.upper().endswith("_UNSPECIFIED"):
                found["type"] = value.lower()
        elif name in _COUNTS and isinstance(value, str) and value[:18].isdecimal():
            found[name] = int(value[:18])
        elif name == "example":
            found["examples"] = [value]
        elif name != "propertyOrdering":
            found[name] = value
    found = _inside(found, json_schema)
    return _or_null(found) if nullable else found


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind := schema.get("type"), str):
        nothing = {"enum": [*as_list(schema["enum"]), None]} if "enum" in schema else {}
        return {**schema, "type": [kind, "null"], **nothing}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*as_list(schema["anyOf"]), {"type": "null"}]}
    return schema


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Forbid additional properties in an output schema: Gemini writes only the listed ones, and
    servers of the Messages API require this to be explicit."""
    found = _inside(dict(schema), closed)
    if "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


def parameters(declaration: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    """The input schema of a function, from `parametersJsonSchema` or `parameters`."""
    raw = declaration.get("parametersJsonSchema")
    found = as_object(raw) if raw is not None else json_schema(declaration.get("parameters"))
    if found.get("type") == "object":
        return found
    if found:
        notes.add("tools.parameters", "translate", "the root of a schema must be an object")
    return {"properties": {}, **found, "type": "object"}


def _inside(schema: dict[str, Any], change: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Apply `change` to the direct subschemas."""
    for name in _ONE:
        if isinstance(schema.get(name), dict):
            schema[name] = change(schema[name])
    for name in _LISTS:
        if isinstance(schema.get(name), list):
            schema[name] = [change(item) for item in as_list(schema[name])]
    for name in _NAMED:
        if isinstance(schema.get(name), dict):
            schema[name] = {key: change(item) for key, item in as_object(schema[name]).items()}
    return schema
