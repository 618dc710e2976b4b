"""Make a client's JSON Schema safe to use, and report what was simplified.

Used before a schema becomes a grammar (`_grammar`) and before arguments are checked (`_validate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plugway import as_list, as_object
from plugway_toolcalls._closed import is_open, parts_of_others
from plugway_toolcalls._patterns import endless_loops
from plugway_toolcalls._references import (
    MAX_DEPTH,
    SchemaTooLarge,
    endless_references,
    resolve,
)

MAX_VALUES: Final = 50_000
MAX_TEXT: Final = 1_000_000
_MAX_ITEMS: Final = 1000
_MOST_COUNT: Final = 1 << 53
_BOUND: Final = 92 * 10**17
"""Bound of numbers in a grammar, because a run of digits must end: llguidance takes 64 bits."""

Purpose = Literal["grammar", "check"]
PatternTest = Callable[[str], bool]

_TYPES: Final = {"object", "array", "string", "number", "integer", "boolean", "null"}
_FORMATS: Final = {
    "date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
}  # fmt: skip
_SCHEMA_MAPS: Final = {
    "properties", "patternProperties", "$defs", "definitions", "dependentSchemas",
}  # fmt: skip
_SCHEMA_LISTS: Final = {"allOf", "anyOf", "oneOf", "prefixItems"}
_SCHEMAS: Final = {
    "items", "additionalProperties", "additionalItems", "contains", "propertyNames", "not", "if",
    "then", "else", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_LISTS: Final = {"required", "enum", "examples"}
_NUMBERS: Final = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
    "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains",
    "maxContains",
}  # fmt: skip
_NOT_IN_GRAMMARS: Final = {
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems",
    "propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems",
    "unevaluatedProperties", "minProperties", "maxProperties", "$dynamicRef", "$recursiveRef",
}  # fmt: skip
_ANY_NAME: Final = "plugway-any"
_ROOT_NAME: Final = "plugway-root"
_DEFINED: Final = ("#/$defs/", "#/definitions/")
_ANY_REF: Final = {"$ref": f"#/$defs/{_ANY_NAME}"}
_NUMBER: Final = {"type": "number", "minimum": -_BOUND, "maximum": _BOUND}
_ANY: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string"},
        {"type": "boolean"},
        {"type": "null"},
        _NUMBER,
        {"type": "array", "items": _ANY_REF},
        {"type": "object", "additionalProperties": _ANY_REF},
    ]
}
SAYS_NOTHING: Final = {"description", "title", "default", "examples", "$comment", "deprecated"}
_COMBINATIONS: Final = {"allOf", "anyOf", "oneOf", "$ref", "patternProperties", "if"}


@dataclass(frozen=True, slots=True)
class PreparedSchema:
    """A schema that is safe to use."""

    schema: dict[str, Any]
    notes: tuple[str, ...] = ()
    """The simplifications, one clause each."""


def prepare_schema(
    schema: Mapping[str, Any], purpose: Purpose, pattern_works: PatternTest | None = None
) -> PreparedSchema:
    """`schema` without remote references, endless references and unusable patterns.

    Raises:
        SchemaTooLarge: it has too many values, too much text, or is nested too deeply.
    """
    _check_size(schema)
    walk = _Walk(dict(schema), purpose, pattern_works or _any_pattern)
    prepared = as_object(walk.schema(walk.root, 0))
    if purpose == "grammar":
        whole = {k: v for k, v in prepared.items() if k not in ("$defs", "definitions")}
        root = {_ROOT_NAME: whole} if walk.refers_to_root else {}
        prepared["$defs"] = {**as_object(prepared.get("$defs")), **root, _ANY_NAME: _ANY}
    return PreparedSchema(prepared, tuple(dict.fromkeys(walk.notes)))


def any_value() -> dict[str, Any]:
    """The grammar's schema for any value, for use instead of a prepared one."""
    return dict(_ANY_REF)


def any_object() -> dict[str, Any]:
    """The grammar's schema for any JSON object."""
    return {"type": "object", "additionalProperties": _ANY_REF, "$defs": {_ANY_NAME: _ANY}}


def is_any_number(schema: Mapping[str, Any]) -> bool:
    """Whether a part of a grammar's schema allows all numbers, or all integers."""
    return _rest(schema) in ({**_NUMBER, "type": kind} for kind in ("number", "integer"))


def is_any_string(schema: Mapping[str, Any]) -> bool:
    """Whether a part of a grammar's schema allows all strings."""
    return _rest(schema) == {"type": "string"}


def is_any_value(schema: Mapping[str, Any]) -> bool:
    """Whether a part of a grammar's schema allows all values."""
    return _rest(schema) in (_ANY_REF, _ANY)


def _rest(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in schema.keys() - SAYS_NOTHING}


def _any_pattern(pattern: str) -> bool:
    return True


def _check_size(schema: Mapping[str, Any]) -> None:
    values, text = 0, 0
    stack: list[Any] = [schema]
    while stack:
        item = stack.pop()
        values += 1
        if isinstance(item, dict):
            entries = as_object(item)
            text += sum(map(len, entries))
            stack.extend(entries.values())
        elif isinstance(item, list):
            stack.extend(as_list(item))
        elif isinstance(item, str):
            text += len(item)
        if values + len(stack) > MAX_VALUES:
            raise SchemaTooLarge(f"the schema has more than {MAX_VALUES} values")
        if text > MAX_TEXT:
            raise SchemaTooLarge(f"the schema has more than {MAX_TEXT} characters of text")


@dataclass
class _Walk:
    root: dict[str, Any]
    purpose: Purpose
    pattern_works: PatternTest
    notes: list[str] = field(default_factory=list[str])
    dead: frozenset[str] = frozenset()
    parts: frozenset[int] = frozenset()
    refers_to_root: bool = False
    """Whether a reference points to the root, or to a part of it that is not a definition."""

    def __post_init__(self) -> None:
        self.dead = endless_references(self.root)
        if self.purpose == "grammar":
            self.parts = parts_of_others(self.root)

    def schema(self, node: Any, depth: int) -> Any:
        if isinstance(node, bool):
            return dict(_ANY_REF) if node and self.purpose == "grammar" else node
        if depth > MAX_DEPTH:
            self.notes.append(f"levels deeper than {MAX_DEPTH} are not checked")
            return {}
        result: dict[str, Any] = {}
        for key, value in as_object(node).items():
            self._keyword(result, key, value, depth)
        if self.purpose == "grammar":
            _narrow(result, as_object(node), part=id(node) in self.parts)
        return result

    def _keyword(self, result: dict[str, Any], key: str, value: Any, depth: int) -> None:
        if self.purpose == "grammar" and key in _NOT_IN_GRAMMARS:
            self.notes.append(f"`{key}` is checked afterwards, not enforced")
        elif not _well_formed(key, value):
            self.notes.append(f"`{key}` has an invalid value")
        elif key in _SCHEMA_MAPS:
            result[key] = self._map(key, as_object(value), depth)
        elif isinstance(value, list) and (key in _SCHEMA_LISTS or key == "items"):
            result[key] = [self.schema(item, depth + 1) for item in as_list(value)]
        elif key in _SCHEMAS:
            result[key] = self.schema(value, depth + 1)
        elif (kept := self._plain(key, value)) is not None:
            result[key] = kept

    def _map(self, key: str, entries: dict[str, Any], depth: int) -> dict[str, Any]:
        if key == "patternProperties":
            if self.purpose == "grammar":
                self.notes.append("`patternProperties` is checked afterwards, not always enforced")
            entries = {name: value for name, value in entries.items() if self._pattern(name)}
        return {name: self.schema(value, depth + 1) for name, value in entries.items()}

    def _plain(self, key: str, value: Any) -> Any:
        match key:
            case "$ref":
                return self._ref(str(value))
            case "pattern":
                return value if isinstance(value, str) and self._pattern(value) else None
            case "format":
                known = isinstance(value, str) and value in _FORMATS
                return value if known or self.purpose == "check" else None
            case "type":
                return self._type(value)
            case "minItems" if self.purpose == "grammar" and _over(value, _MAX_ITEMS):
                self.notes.append("a large `minItems` is checked afterwards, not enforced")
                return None
            case _ if key in _NUMBERS and isinstance(value, float) and value.is_integer():
                # llguidance takes no `1.0` for a count
                return int(value) if abs(value) < _MOST_COUNT else value
            case "$id" | "id" | "$anchor" | "$dynamicAnchor" | "$schema" | "x-guidance":
                return value if key == "$schema" and self.purpose == "check" else None
            case _:
                return value

    def _ref(self, ref: str) -> str | None:
        if not ref.startswith("#"):
            self.notes.append("a `$ref` is not followed: only local ones are supported")
        elif resolve(self.root, ref) is None:
            self.notes.append("a `$ref` has no target")
        elif ref in self.dead:
            self.notes.append("a `$ref` is circular")
        elif self.purpose == "check" or ref.startswith(_DEFINED):
            return ref
        else:
            # A grammar compiles members one by one, with only the definitions in addition.
            self.refers_to_root = True
            return f"#/$defs/{_ROOT_NAME}{ref.removeprefix('#')}"
        return None

    def _pattern(self, pattern: str) -> bool:
        works = self.pattern_works(pattern)
        if self.purpose == "check":
            works = works and endless_loops(pattern) is not None
        if not works:
            self.notes.append("a pattern is not used")
        return works

    def _type(self, value: Any) -> Any:
        known = [kind for kind in as_list(value) if isinstance(kind, str) and kind in _TYPES]
        if isinstance(value, str) and value in _TYPES:
            return value
        if not known:
            self.notes.append("a type is unknown")
        return known or None


def _well_formed(key: str, value: Any) -> bool:
    if key in _SCHEMA_MAPS:
        return isinstance(value, dict) and _all_schemas([*as_object(value).values()])
    if key in _SCHEMA_LISTS or (key == "items" and isinstance(value, list)):
        return bool(as_list(value)) and _all_schemas(as_list(value))
    if key in _SCHEMAS:
        return isinstance(value, dict | bool)
    if key in _LISTS:
        return isinstance(value, list) and (key != "required" or _all_text(as_list(value)))
    if key in _NUMBERS:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (value > 0 or key != "multipleOf")
    return key not in {"dependentRequired", "dependencies"} or isinstance(value, dict)


def _all_schemas(values: list[Any]) -> bool:
    return all(isinstance(value, dict | bool) for value in values)


def _all_text(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _over(value: Any, limit: int) -> bool:
    return isinstance(value, int | float) and value > limit


def _narrow(node: dict[str, Any], raw: dict[str, Any], *, part: bool) -> None:
    """Make sure that a grammar ends: no unlimited names or digits. `raw` is the client's schema."""
    if not node.keys() - SAYS_NOTHING:
        node |= _ANY_REF
    if "type" not in node and not _COMBINATIONS & node.keys():
        for key, kind in (("properties", "object"), ("items", "array")):
            if key in node:
                node["type"] = kind
    kinds = {node["type"]} if isinstance(node.get("type"), str) else set(as_list(node.get("type")))
    if ("object" in kinds or "properties" in node) and "additionalProperties" not in node:
        _narrow_object(node, raw, part=part)
    if "array" in kinds and not {"items", "prefixItems"} & node.keys():
        node["items"] = dict(_ANY_REF)
    if {"integer", "number"} & kinds and not {"enum", "const"} & node.keys():
        _narrow_number(node)


def _narrow_object(node: dict[str, Any], raw: dict[str, Any], *, part: bool) -> None:
    """Close an object that lists members and mentions no others, as llama.cpp's converter does.

    An object that lists only a `part` of its members stays unchanged.
    """
    if is_open(raw):
        node["additionalProperties"] = dict(_ANY_REF)
    elif "properties" in node and not part:
        known = as_object(node["properties"])
        unlisted = [name for name in as_list(node.get("required")) if name not in known]
        node["properties"] = {**known, **{name: dict(_ANY_REF) for name in unlisted}}
        node["additionalProperties"] = False
    elif not _COMBINATIONS & node.keys() and not part:
        node["additionalProperties"] = dict(_ANY_REF)


def _narrow_number(node: dict[str, Any]) -> None:
    low = [node[key] for key in ("minimum", "exclusiveMinimum") if key in node]
    high = [node[key] for key in ("maximum", "exclusiveMaximum") if key in node]
    if not low and not any(_over(-value, _BOUND) for value in high if not isinstance(value, bool)):
        node["minimum"] = -_BOUND
    if not high and not any(_over(value, _BOUND) for value in low):
        node["maximum"] = _BOUND
