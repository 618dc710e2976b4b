"""Decides which schemas keep their meaning under OpenAI's `strict`. Pure functions."""

from __future__ import annotations

from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation._patterns import compiles
from plugway_translation._schema import SCHEMA_LISTS, SCHEMA_MAPS, SCHEMAS

_NOT_STRICT: Final = frozenset(
    (
        *("allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"),
        *("patternProperties", "propertyNames", "contains", "uniqueItems", "minProperties"),
        *("maxProperties", "prefixItems", "unevaluatedProperties", "unevaluatedItems"),
    )
)
"""Keywords that OpenAI's guide to structured outputs does not list as supported."""


def close_strict_objects(schema: Any) -> Any:
    """Add `additionalProperties: false` to objects that require all their properties and do not
    allow others explicitly.

    A reply by the schema stays the same, and `strict` becomes possible.
    """
    if isinstance(schema, list):
        return [close_strict_objects(item) for item in as_list(schema)]
    if not isinstance(schema, dict):
        return schema
    found = as_object(schema)
    made = {
        key: _each(item)
        if key in SCHEMA_MAPS
        else close_strict_objects(item)
        if key in SCHEMA_LISTS or key in SCHEMAS
        else item
        for key, item in found.items()
    }
    names = as_object(found.get("properties")).keys()
    if names and names == set(map(str, as_list(found.get("required")))):
        made.setdefault("additionalProperties", False)
    return made


def _each(schemas: Any) -> Any:
    return {name: close_strict_objects(part) for name, part in as_object(schemas).items()}


def strict_fits(schema: Any) -> bool:
    """Whether a schema keeps its meaning under OpenAI's `strict`: everywhere all properties are
    required and no others allowed.

    Source: OpenAI's guide to structured outputs, "Supported schemas".
    """
    if isinstance(schema, list):
        return all(map(strict_fits, as_list(schema)))
    found = as_object(schema)
    pattern = found.get("pattern")
    if not _NOT_STRICT.isdisjoint(found) or (pattern and not compiles(str(pattern), "linear")):
        return False
    if found.get("type") == "object" or "properties" in found:
        names = as_object(found.get("properties")).keys()
        if found.get("additionalProperties") is not False:
            return False
        if names != set(map(str, as_list(found.get("required")))):
            return False
    inner = [found[key] for key in ("items", "anyOf") if key in found]
    inner += [s for key in ("properties", "$defs") for s in as_object(found.get(key)).values()]
    return all(map(strict_fits, inner))
