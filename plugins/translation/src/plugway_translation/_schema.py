"""Reduces JSON schemas of tools to what a target supports. Pure functions.

`SchemaRules` describe what one API rejects. Everything removed is noted, and removed bounds are
described in the description, so that the model still knows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from plugway import as_list, as_object
from plugway_translation._drafts import to_2020_12
from plugway_translation._notes import Note, Notes
from plugway_translation._patterns import Patterns, compiles
from plugway_translation._root import find_reference, rooted

SCHEMA_MAPS: Final = frozenset(
    ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
)
"""Keywords whose values are schemas by name."""
SCHEMA_LISTS: Final = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
SCHEMAS: Final = frozenset(
    ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
)
_BOUNDS: Final = frozenset(
    (
        *("pattern", "format", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"),
        *("exclusiveMaximum", "multipleOf", "minItems", "maxItems", "uniqueItems", "contains"),
        *("minProperties", "maxProperties", "propertyNames", "dependentRequired", "enum", "not"),
        "patternProperties",
    )
)
"""Keywords that are described in the description when removed."""
_COUNTS: Final = frozenset(("minLength", "maxLength", "minItems", "maxItems"))
_MAX_DESCRIBED: Final = 200
_ANY_TYPE: Final = ("string", "number", "boolean", "object")
_FORMATS: Final = frozenset(
    (
        *("date", "date-time", "duration", "time", "email", "idn-email", "hostname"),
        *("idn-hostname", "ipv4", "ipv6", "iri", "iri-reference", "uri", "uri-reference"),
        *("uri-template", "uuid", "json-pointer", "relative-json-pointer", "regex", "binary"),
        *("byte", "double", "float", "int32", "int64", "password"),
    )
)
"""Values of `format` that a note may quote: those of JSON Schema 2020-12 and OpenAPI 3.0."""
_MAX_INLINED: Final = 2000
"""Limit of schemas that references may expand to."""
_MAX_CHAIN: Final = 64
"""Limit of nested references, to protect the stack."""


@dataclass(frozen=True, slots=True)
class SchemaRules:
    """What a target supports. The defaults allow any schema whose root is an object."""

    keywords: frozenset[str] | None = None
    """Keywords to keep; None for all."""
    drop: frozenset[str] = frozenset()
    """Keywords to remove."""
    formats: frozenset[str] | None = None
    """Values of `format` to keep; None for all."""
    max_depth: int = 0
    """Maximum nesting; deeper schemas become `{}`. 0 for no limit."""
    inline_refs: bool = False
    """Replace `$ref` into `$defs` by its target; a recursive one becomes `{}`."""
    unions: Literal["keep", "any_of", "nullable"] = "keep"
    """How to express `type: [a, b]`: `anyOf` of single types, or one type with `nullable`."""
    const_as_enum: bool = False
    string_enums: bool = False
    """Keep only non-empty strings in `enum`; remove it if any other value but null is in it."""
    one_of_as_any_of: bool = False
    patterns: Patterns = "python"
    """Keep only patterns that the target compiles."""
    most_counted: int = 0
    """Maximum `minLength`, `maxLength`, `minItems` and `maxItems` to keep; 0 for no limit."""
    property_names: str = ""
    """Pattern for names of the root's properties; others are removed."""
    typed: bool = False
    """Every schema needs a type; with `anyOf` each branch needs one (Moonshot)."""
    describe_bounds: bool = True
    """Describe removed bounds in the description."""
    closed: bool = False
    """Forbid additional properties in objects, as Anthropic's structured outputs require."""
    strict: bool = False
    """Require all properties and forbid others, as OpenAI's `strict` does."""


ANY_SCHEMA: Final = SchemaRules()
"""Below the root, changes only what no server accepts: booleans as schemas, and patterns that
Python does not compile."""
_KNOWN_PATTERNS: Final[Mapping[str, Patterns]] = {"linear": "linear", "anchored": "anchored"}
_REFERENCES: Final = frozenset(("$ref", "$defs", "definitions"))


@lru_cache(maxsize=256)
def rules_without(
    keywords: frozenset[str], patterns: str = "", most_counted: int = 0, form: str = ""
) -> SchemaRules:
    """Rules of a target that rejects `keywords`; equivalents are used where they exist.

    `patterns` is one of `Patterns` or empty, `form` is `typed` or empty.
    """
    if not (keywords or patterns or most_counted or form):
        return ANY_SCHEMA
    equivalents = {"const": "enum", "oneOf": "anyOf"}
    replaced = {key for key, instead in equivalents.items() if instead not in keywords} & keywords
    typed = form == "typed"
    return SchemaRules(
        drop=keywords - replaced,
        const_as_enum="const" in replaced,
        one_of_as_any_of="oneOf" in replaced,
        inline_refs=typed or not _REFERENCES.isdisjoint(keywords),
        patterns=_KNOWN_PATTERNS.get(patterns, "python"),
        most_counted=most_counted,
        typed=typed,
    )


def clean_schema(
    schema: Any, rules: SchemaRules, field: str = "tools.input_schema"
) -> tuple[Mapping[str, Any], tuple[Note, ...]]:
    """`schema` reduced to what a target supports, and notes. Treat the result as read-only.

    The root is always an object schema with `properties`.
    """
    given = as_object(schema)
    raw = orjson.dumps(given)
    cleaned = _cleaned if len(raw) <= _KEPT_BYTES else _cleaned.__wrapped__
    found, notes = cleaned(raw, rules, field)
    return (given if found is None else found), notes


_KEPT_BYTES: Final = 16 * 1024
"""Larger schemas are not cached: 512 of them could exhaust the memory."""


@lru_cache(maxsize=512)
def _cleaned(
    raw: bytes, rules: SchemaRules, field: str
) -> tuple[Mapping[str, Any] | None, tuple[Note, ...]]:
    """Cached by the schema's bytes, because a client sends the same tools with every request. None
    if the schema is unchanged."""
    notes = Notes()
    given = orjson.loads(raw)
    root = rooted(given, field, notes)
    cleaner = _Cleaner(root, rules, field, notes)
    found = cleaner.schema(root, 1, ())
    return (None if found == given else found), tuple(notes)


class _Cleaner:
    def __init__(self, root: dict[str, Any], rules: SchemaRules, field: str, notes: Notes) -> None:
        self.root = root
        self.notes = notes
        self._rules = rules
        self._field = field
        self._inlined = 0

    def schema(self, value: Any, depth: int, refs: tuple[str, ...]) -> dict[str, Any]:
        """Clean one schema; `refs` are the references that contain it."""
        if not isinstance(value, dict):  # `true` and `false` are schemas that few targets support
            self.notes.add(f"{self._field}.boolean", "translate", "a schema that allows any value")
            return self._typed({})
        schema = to_2020_12(as_object(value), self._translated)
        rules = self._rules
        if depth == 1 and rules.property_names:
            schema = self._named(schema, rules.property_names)
        if rules.inline_refs and "$ref" in schema:
            return self._reference(schema, depth, refs)
        if rules.max_depth and depth > rules.max_depth:
            self._note("nesting", "deeper than the target supports")
            return {}
        found: dict[str, Any] = {}
        lost: dict[str, Any] = {}
        for key, item in schema.items():
            if self._goes(key, item):
                lost[key] = item
            else:
                found[key] = self._member(key, item, depth, refs)
        self._type(found)
        self._enum(found, lost)
        if rules.one_of_as_any_of and "oneOf" in found:
            found["anyOf"] = [*as_list(found.get("anyOf")), *as_list(found.pop("oneOf"))]
            self.notes.add(f"{self._field}.oneOf", "translate", "as `anyOf`")
        if found.get("type") == "object" or "properties" in found:
            self._closed(found)
        elif found.get("type") == "array" and not found.keys() & {"items", "prefixItems"}:
            found["items"] = self._typed({})
            because = 'any type: some servers reject an "array schema missing items"'
            self.notes.add(f"{self._field}.items", "translate", because)
        self._describe(found, lost)
        return self._typed(found)

    def _translated(self, what: str, because: str) -> None:
        self.notes.add(f"{self._field}.{what}", "translate", because)

    def _named(self, schema: dict[str, Any], pattern: str) -> dict[str, Any]:
        """Remove root properties whose names are rejected, and say so in the description."""
        properties = as_object(schema.get("properties"))
        kept = {name: p for name, p in properties.items() if re.fullmatch(pattern, name)}
        gone = [name for name in properties if name not in kept]
        if not gone:
            return schema
        self._note("properties", "the target rejects the name; the property is left out")
        description = schema.get("description")
        before = f"{description} " if isinstance(description, str) and description else ""
        words = f"{before}(Cannot be given here: {_described(', '.join(gone))}.)"
        found = {**schema, "properties": kept, "description": words}
        if "required" in found:
            found["required"] = [n for n in as_list(found["required"]) if n not in gone]
        return found

    def _goes(self, key: str, item: Any) -> bool:
        rules = self._rules
        if rules.inline_refs and key in {"$defs", "definitions"}:
            return True
        if key == "const" and rules.const_as_enum:
            return False
        if not self._compile(key, item):
            self._note(key, "the target cannot compile it")
            return True
        if key in _COUNTS and rules.most_counted and not _fits(item, rules.most_counted):
            self._note(key, f"the target's maximum is {rules.most_counted}")
            return True
        allowed = rules.keywords is None or key in rules.keywords
        name = item if key == "format" and isinstance(item, str) else ""
        if key == "format" and rules.formats is not None and name not in rules.formats:
            allowed = False
            key = f"format {name}" if name in _FORMATS else "format"
        if allowed and key not in rules.drop:
            return False
        self._note(key, "the target does not support it")
        return True

    def _compile(self, key: str, item: Any) -> bool:
        """Whether the target compiles the patterns of a keyword; True for other keywords."""
        if key == "pattern":
            return isinstance(item, str) and compiles(item, self._rules.patterns)
        names = as_object(item) if key == "patternProperties" else ()
        return all(compiles(name, self._rules.patterns) for name in names)

    def _member(self, key: str, item: Any, depth: int, refs: tuple[str, ...]) -> Any:
        if key in SCHEMA_MAPS:
            return {n: self.schema(s, depth + 1, refs) for n, s in as_object(item).items()}
        if key in SCHEMA_LISTS:
            return [self.schema(s, depth + 1, refs) for s in as_list(item)]
        if key in SCHEMAS and (isinstance(item, dict) or (item is True and key == "items")):
            return self.schema(item, depth + 1, refs)
        if key == "items" and isinstance(item, list):  # a tuple in drafts before 2020-12
            self._translated("items", "older tuple syntax, converted to any of its entries")
            parts = [self.schema(s, depth + 1, refs) for s in as_list(item)]
            return {"anyOf": parts} if parts else {}
        return item

    def _reference(self, schema: dict[str, Any], depth: int, refs: tuple[str, ...]) -> Any:
        name = str(schema["$ref"])
        target = find_reference(self.root, name)
        self._inlined += 1
        too_much = self._inlined > _MAX_INLINED or len(refs) >= _MAX_CHAIN
        if name in refs or target is None or too_much:
            why = "it refers to itself" if name in refs else "its target is missing or too large"
            self._note("$ref", why)
            return {}
        self.notes.add(f"{self._field}.$ref", "translate", "replaced by its target")
        beside = {key: item for key, item in schema.items() if key != "$ref"}
        return self.schema({**target, **beside}, depth, (*refs, name))

    def _type(self, found: dict[str, Any]) -> None:
        kinds = [str(kind) for kind in as_list(found.get("type"))]
        if not kinds or self._rules.unions == "keep":
            return
        single = [kind for kind in kinds if kind != "null"]
        if len(single) == 1 or self._rules.unions == "nullable":
            found["type"] = single[0] if single else "string"
            if len(single) < len(kinds):
                found["nullable"] = True
            if len(single) > 1:
                self._note("type", "only one type is supported; the others were left out")
            return
        if "anyOf" not in found:
            self.notes.add(f"{self._field}.type", "translate", "several types, as `anyOf`")
            found["anyOf"] = [{"type": kind} for kind in single]
        del found["type"]

    def _enum(self, found: dict[str, Any], lost: dict[str, Any]) -> None:
        if self._rules.const_as_enum and "const" in found:
            found["enum"] = [found.pop("const")]
            self.notes.add(f"{self._field}.const", "translate", "as an `enum` with one value")
        if not self._rules.string_enums or "enum" not in found:
            return
        values = as_list(found["enum"])
        texts = [value for value in values if isinstance(value, str) and value]
        if None in values:
            found["nullable"] = True
        if len(texts) < len([value for value in values if value is not None]):
            lost["enum"] = values
            self._note("enum", "the target supports only non-empty strings")
        if texts and all(isinstance(value, str) or value is None for value in values):
            found["enum"] = texts
        else:
            del found["enum"]
            found.setdefault("type", _kind_of([v for v in values if v is not None]) or "string")

    def _closed(self, found: dict[str, Any]) -> None:
        """Forbid additional properties; require all properties if the target does."""
        if self._rules.strict:
            found["required"] = list(as_object(found.get("properties")))
        if self._rules.strict or self._rules.closed:
            if found.get("additionalProperties", False) is not False:
                self._note(
                    "additionalProperties", "the target does not allow additional properties"
                )
            found["additionalProperties"] = False

    def _typed(self, found: dict[str, Any]) -> dict[str, Any]:
        """Add the type, if the target requires one."""
        if not self._rules.typed or "$ref" in found:
            return found
        if "anyOf" in found:
            kind = found.pop("type", None)
            parts = [as_object(part) for part in as_list(found["anyOf"])]
            found.pop("default", None)
            found["anyOf"] = [{"type": kind, **part} if kind else part for part in parts]
        elif "type" not in found:
            kind = _kind(found)
            found |= {"type": kind} if kind else {"anyOf": [{"type": name} for name in _ANY_TYPE]}
        return found

    def _describe(self, found: dict[str, Any], lost: dict[str, Any]) -> None:
        """Describe removed bounds in the description."""
        bounds = {
            key: item for key, item in lost.items() if key in _BOUNDS and _is_shown(key, item)
        }
        if not bounds or not self._rules.describe_bounds:
            return
        words = [f"{key}: {_described(item)}" for key, item in bounds.items()]
        described = found.get("description")
        before = f"{described} " if isinstance(described, str) and described else ""
        found["description"] = f"{before}({'; '.join(words)})"

    def _note(self, what: str, because: str) -> None:
        self.notes.add(f"{self._field}.{what}", "drop", because)


def _fits(count: Any, most: int) -> bool:
    return isinstance(count, int) and count <= most


def _is_shown(key: str, item: Any) -> bool:
    return isinstance(item, str) or key not in ("pattern", "format")


def _described(item: Any) -> str:
    text = item if isinstance(item, str) else orjson.dumps(item).decode()
    return text if len(text) <= _MAX_DESCRIBED else text[:_MAX_DESCRIBED] + "…"


def _kind(found: Mapping[str, Any]) -> str:
    """The type implied by the keywords of a schema without `type`; empty if any value fits."""
    values = as_list(found.get("enum")) or [found[key] for key in ("const",) if key in found]
    if found.keys() & {"properties", "additionalProperties", "required"}:
        return "object"
    if "items" in found:
        return "array"
    if found.keys() & {"pattern", "format", "minLength", "maxLength"}:
        return "string"
    return _kind_of(values)


def _kind_of(values: Sequence[Any]) -> str:
    """The type of all values; empty if there are none, or of several types."""
    kinds = {"boolean": bool, "integer": int, "number": int | float, "string": str}
    for name, kind in kinds.items():
        if values and all(isinstance(value, kind) for value in values):
            return name
    return ""
