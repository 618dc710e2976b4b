"""Which schemas mean the same under OpenAI's `strict`. Pure functions."""

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


def closed_where_all_are_required(schema: Any) -> Any:
    """`schema` with `additionalProperties: false` where an object requires all of its properties
    and does not say whether there may be others: an answer by it is the same, and `strict` fits."""
    if isinstance(schema, list):
        return [closed_where_all_are_required(item) for item in as_list(schema)]
    if not isinstance(schema, dict):
        return schema
    found = as_object(schema)
    made = {
        key: _each(item)
        if key in SCHEMA_MAPS
        else closed_where_all_are_required(item)
        if key in SCHEMA_LISTS or key in SCHEMAS
        else item
        for key, item in found.items()
    }
    names = as_object(found.get("properties")).keys()
    if names and names == set(map(str, as_list(found.get("required")))):
        made.setdefault("additionalProperties", False)
    return made


def _each(schemas: Any) -> Any:
    return {name: closed_where_all_are_required(part) for name, part in as_object(schemas).items()}


def strict_fits(schema: Any) -> bool:
    """Whether a schema means the same under OpenAI's `strict`: all required, no others, throughout.

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
