"""Converts tool schemas to Gemini's subset of OpenAPI 3.0. Pure functions.

https://ai.google.dev/api/caching#Schema. In addition the API rejects `anyOf` next to other fields,
names in `required` that are not properties, arrays without `items`, and deep nesting ("exceeds the
maximum allowed nesting depth").
"""

from __future__ import annotations

from typing import Any, Final

from plugway import as_list, as_object
from plugway_capabilities import Facts
from plugway_translation import Notes, SchemaRules, clean_schema

MAX_DEPTH: Final = 10
"""Maximum nesting of objects and arrays, unless the model reported less."""
SIMPLE_DEPTH: Final = 3

_SIMPLE: Final = frozenset(
    ("anyOf", "description", "enum", "items", "nullable", "properties", "required", "type")
)
_KEYWORDS: Final = _SIMPLE | {
    "default",
    "example",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "pattern",
    "title",
}
_HERE: Final = frozenset(("oneOf", "allOf", "prefixItems"))
"""Keywords that Gemini lacks, and that are converted here."""
_TYPES: Final = frozenset(("array", "boolean", "integer", "number", "object", "string"))
_OF_NUMBERS: Final = frozenset(("double", "float", "int32", "int64"))
_FORMATS: Final = _OF_NUMBERS | {"date-time", "enum"}


def gemini_schema(
    schema: Any,
    notes: Notes,
    *,
    facts: Facts | None = None,
    simple: bool = False,
    where: str = "tools.input_schema",
) -> dict[str, Any]:
    """The converted schema; empty for an object without properties, which Gemini wants omitted.

    `simple` is for a model that produced a malformed call: only types, names, choices, and limited
    depth.
    """
    facts = facts or Facts()
    rules = SchemaRules(
        keywords=(_SIMPLE if simple else _KEYWORDS) | _HERE,
        drop=facts.rejected_keywords,
        formats=_FORMATS,
        inline_refs=True,
        unions="any_of",
        const_as_enum=True,
        string_enums=True,
        describe_bounds=not simple,
    )
    cleaned, found = clean_schema(schema, rules, where)
    notes.extend(found)
    most = SIMPLE_DEPTH if simple else facts.schema_depth or MAX_DEPTH
    made = _Shaper(notes, where, most).schema(dict(cleaned), 1)
    return {} if made.get("type") == "object" and not made.get("properties") else made


class _Shaper:
    def __init__(self, notes: Notes, where: str, most: int) -> None:
        self._notes = notes
        self._where = where
        self._most = most

    def schema(self, found: dict[str, Any], depth: int) -> dict[str, Any]:
        """Convert one schema at `depth` levels of objects and arrays."""
        found = self._choice(self._merged(found))
        if "anyOf" in found:
            return self._any_of(found, depth)
        if found.get("type") == "null":
            found["nullable"] = True
        found["type"] = self._kind(found)
        if found["type"] == "object":
            return self._object(found, depth)
        if found["type"] == "array":
            return self._array(found, depth)
        return self._scalar(found)

    def _scalar(self, found: dict[str, Any]) -> dict[str, Any]:
        for key in ("items", "prefixItems", "properties", "required"):
            found.pop(key, None)
        if found["type"] == "string" and found.get("format") in _OF_NUMBERS:
            del found["format"]
            self._note("format", "Gemini supports it only for numbers")
        if "enum" in found and found["type"] == "string":
            found.pop("format", None)
        elif "enum" in found:
            del found["enum"]
            self._note("enum", "Gemini supports only string values")
        return found

    @staticmethod
    def _kind(found: dict[str, Any]) -> str:
        """The type of a schema; inferred if missing, because Gemini requires it."""
        kind = found.get("type")
        if isinstance(kind, str) and kind in _TYPES:
            return kind
        if "enum" in found or kind == "null":
            return "string"
        return "array" if found.keys() & {"items", "prefixItems"} else "object"

    def _merged(self, found: dict[str, Any]) -> dict[str, Any]:
        """Merge `allOf` into one schema; the last value of a keyword is used."""
        parts = [as_object(part) for part in as_list(found.get("allOf"))]
        if "allOf" not in found:
            return dict(found)
        self._translated("allOf", "its parts were merged")
        whole = {key: item for key, item in found.items() if key != "allOf"}
        for part in map(self._merged, parts):
            properties = {**as_object(whole.get("properties")), **as_object(part.get("properties"))}
            required = [*as_list(whole.get("required")), *as_list(part.get("required"))]
            whole = {**part, **whole}
            if properties:
                whole["properties"] = properties
            if required:
                whole["required"] = list(dict.fromkeys(map(str, required)))
        return whole

    def _choice(self, found: dict[str, Any]) -> dict[str, Any]:
        """`oneOf` as `anyOf`; a choice of null and one other schema becomes the other, nullable."""
        if "oneOf" in found:
            self._translated("oneOf", "as `anyOf`")
            found["anyOf"] = [*as_list(found.get("anyOf")), *as_list(found.pop("oneOf"))]
        if "anyOf" not in found:
            return found
        parts = [as_object(part) for part in as_list(found.pop("anyOf"))]
        solid = [part for part in parts if part.get("type") != "null"]
        if len(solid) < len(parts):
            found["nullable"] = True
        if len(solid) == 1:
            return self._choice(self._merged({**solid[0], **found}))
        return {**found, "anyOf": solid} if solid else found

    def _any_of(self, found: dict[str, Any], depth: int) -> dict[str, Any]:
        """Move keywords next to `anyOf` into each of its branches."""
        beside = {key: found[key] for key in ("description", "nullable") if key in found}
        gone = found.keys() - {"anyOf", "type", *beside}
        shared = {key: found[key] for key in ("properties", "required") if key in found}
        for key in sorted(gone - shared.keys()):
            self._note(key, "Gemini allows nothing next to `anyOf`")
        parts: list[dict[str, Any]] = []
        for part in as_list(found["anyOf"]):
            inner = as_object(part)
            if shared:
                inner = self._merged({"allOf": [inner, shared], "type": "object"})
            parts.append(self.schema({**beside, **inner}, depth))
        return {"anyOf": parts}

    def _object(self, found: dict[str, Any], depth: int) -> dict[str, Any]:
        inner = as_object(found.pop("properties", None))
        for key in ("items", "prefixItems", "enum"):
            found.pop(key, None)
        wanted = map(str, as_list(found.pop("required", None)))
        required = [name for name in wanted if name in inner]
        if depth > self._most:
            if inner:
                self._note("nesting", "deeper than Gemini supports; the inner schema is left out")
            return found
        if inner:
            found["properties"] = {
                name: self.schema(as_object(part), depth + 1) for name, part in inner.items()
            }
        if required:
            found["required"] = required
        return found

    def _array(self, found: dict[str, Any], depth: int) -> dict[str, Any]:
        for key in ("properties", "required", "enum"):
            found.pop(key, None)
        parts = [as_object(part) for part in as_list(found.pop("prefixItems", None))]
        if parts:
            self._translated("prefixItems", "as items of any of its types, in any order")
        items = as_object(found.get("items")) or ({"anyOf": parts} if parts else {"type": "string"})
        if depth > self._most:
            self._note("nesting", "deeper than Gemini supports; the inner schema is left out")
            kind = self._kind(self._choice(self._merged(items)))
            items = {"type": kind, **({"items": {"type": "string"}} if kind == "array" else {})}
        else:
            items = self.schema(items, depth + 1)
        return {**found, "items": items}

    def _translated(self, what: str, how: str) -> None:
        self._notes.add(f"{self._where}.{what}", "translate", how)

    def _note(self, what: str, because: str) -> None:
        self._notes.add(f"{self._where}.{what}", "drop", because)
