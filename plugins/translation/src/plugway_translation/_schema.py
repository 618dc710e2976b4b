"""JSON schemas of tools, cut to what a target takes. Pure functions.

What one API refuses is in its rules (`SchemaRules`); there is a note for everything that is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import orjson

from plugway import as_list, as_object
from plugway_translation._notes import Note, Notes

_MAPS: Final = frozenset(("properties", "patternProperties", "$defs", "definitions"))
"""Keywords whose values are schemas by name."""
_LISTS: Final = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
_SCHEMAS: Final = frozenset(
    ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
)
_FORMATS: Final = frozenset(
    (
        *("date", "date-time", "duration", "time", "email", "idn-email", "hostname"),
        *("idn-hostname", "ipv4", "ipv6", "iri", "iri-reference", "uri", "uri-reference"),
        *("uri-template", "uuid", "json-pointer", "relative-json-pointer", "regex", "binary"),
        *("byte", "double", "float", "int32", "int64", "password"),
    )
)
"""Values of `format` that a note may name: those of JSON Schema 2020-12 and OpenAPI 3.0."""
_MAX_INLINED: Final = 2000
"""Schemas that references may unfold to."""
_MAX_CHAIN: Final = 64
"""References that stand in one another: a chain of them ends before the stack does."""


@dataclass(frozen=True, slots=True)
class SchemaRules:
    """What a target takes. Without arguments: any schema whose root is an object."""

    keywords: frozenset[str] | None = None
    """The keywords that stay; None for all."""
    drop: frozenset[str] = frozenset()
    """Keywords that go."""
    formats: frozenset[str] | None = None
    """Values of `format` that stay; None for all."""
    max_depth: int = 0
    """Schemas inside of schemas; what lies deeper becomes `{}`. 0 for any number."""
    inline_refs: bool = False
    """`$ref` into `$defs` is replaced by what it names; one that names itself becomes `{}`."""
    unions: Literal["keep", "any_of", "nullable"] = "keep"
    """What becomes of `type: [a, b]`: `anyOf` of single types, or one type with `nullable`."""
    const_as_enum: bool = False
    string_enums: bool = False
    """`enum` goes where not all of its values are text."""
    strict: bool = False
    """All properties are required and there are no others: what OpenAI's `strict` wants."""


ANY_SCHEMA: Final = SchemaRules()
"""Nothing below the root is ever changed."""


def rules_without(keywords: frozenset[str]) -> SchemaRules:
    """Rules of a target that refuses some keywords, and nothing else."""
    return SchemaRules(drop=keywords) if keywords else ANY_SCHEMA


def clean_schema(
    schema: Any, rules: SchemaRules, field: str = "tools.input_schema"
) -> tuple[Mapping[str, Any], tuple[Note, ...]]:
    """`schema` as a target takes it, and what was done to it. Treat the result as read-only.

    The root is always an object schema with `properties`.
    """
    root = as_object(schema)
    if root.get("type") != "object" or not isinstance(root.get("properties"), dict):
        root = {**root, "type": "object", "properties": as_object(root.get("properties"))}
    if rules is ANY_SCHEMA or rules == ANY_SCHEMA:
        return root, ()
    raw = orjson.dumps(root)
    cleaned = _cleaned if len(raw) <= _KEPT_BYTES else _cleaned.__wrapped__
    return cleaned(raw, rules, field)


_KEPT_BYTES: Final = 16 * 1024
"""A schema that is larger is not kept: 512 of them could be all the memory there is."""


@lru_cache(maxsize=512)
def _cleaned(
    raw: bytes, rules: SchemaRules, field: str
) -> tuple[Mapping[str, Any], tuple[Note, ...]]:
    """By the schema's bytes: a client sends the same tools with every request."""
    cleaner = _Cleaner(as_object(orjson.loads(raw)), rules, field)
    found = cleaner.schema(cleaner.root, 1, ())
    return found, tuple(cleaner.notes)


class _Cleaner:
    def __init__(self, root: dict[str, Any], rules: SchemaRules, field: str) -> None:
        self.root = root
        self.notes = Notes()
        self._rules = rules
        self._field = field
        self._inlined = 0

    def schema(self, value: Any, depth: int, refs: tuple[str, ...]) -> dict[str, Any]:
        """One schema; `refs` are the references that it stands in."""
        if not isinstance(value, dict):
            return {}  # `true` and `false` are schemas too; few targets take them
        schema = as_object(value)
        rules = self._rules
        if rules.inline_refs and "$ref" in schema:
            return self._reference(schema, depth, refs)
        if rules.max_depth and depth > rules.max_depth:
            self._note("nesting", "the target takes no deeper one")
            return {}
        found: dict[str, Any] = {}
        for key, item in schema.items():
            if self._goes(key, item):
                continue
            found[key] = self._member(key, item, depth, refs)
        self._type(found)
        self._enum(found)
        if rules.strict and (found.get("type") == "object" or "properties" in found):
            self._strict(found)
        return found

    def _goes(self, key: str, item: Any) -> bool:
        rules = self._rules
        if rules.inline_refs and key in {"$defs", "definitions"}:
            return True
        if key == "const" and rules.const_as_enum:
            return False
        allowed = rules.keywords is None or key in rules.keywords
        name = item if key == "format" and isinstance(item, str) else ""
        if key == "format" and rules.formats is not None and name not in rules.formats:
            allowed = False
            key = f"format {name}" if name in _FORMATS else "format"
        if allowed and key not in rules.drop:
            return False
        self._note(key, "the target does not take it")
        return True

    def _member(self, key: str, item: Any, depth: int, refs: tuple[str, ...]) -> Any:
        if key in _MAPS:
            return {n: self.schema(s, depth + 1, refs) for n, s in as_object(item).items()}
        if key in _LISTS:
            return [self.schema(s, depth + 1, refs) for s in as_list(item)]
        if key in _SCHEMAS and isinstance(item, dict):
            return self.schema(item, depth + 1, refs)
        if key == "items" and isinstance(item, list):  # drafts before 2020-12: a tuple
            parts = [self.schema(s, depth + 1, refs) for s in as_list(item)]
            return {"anyOf": parts} if parts else {}
        return item

    def _reference(self, schema: dict[str, Any], depth: int, refs: tuple[str, ...]) -> Any:
        name = str(schema["$ref"])
        target = self._find(name)
        self._inlined += 1
        too_much = self._inlined > _MAX_INLINED or len(refs) >= _MAX_CHAIN
        if name in refs or target is None or too_much:
            why = "it names itself" if name in refs else "it names nothing here, or too much"
            self._note("$ref", why)
            return {}
        self.notes.add(f"{self._field}.$ref", "translate", "what it names is put in its place")
        beside = {key: item for key, item in schema.items() if key != "$ref"}
        return self.schema({**target, **beside}, depth, (*refs, name))

    def _find(self, name: str) -> dict[str, Any] | None:
        if not name.startswith("#"):
            return None
        found: Any = self.root
        for part in name[1:].strip("/").split("/") if name != "#" else ():
            found = as_object(found).get(part.replace("~1", "/").replace("~0", "~"))
        return as_object(found) if isinstance(found, dict) else None

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
                self._note("type", "one type only; the others were left out")
            return
        if "anyOf" not in found:
            self.notes.add(f"{self._field}.type", "translate", "several types, as `anyOf`")
            found["anyOf"] = [{"type": kind} for kind in single]
        del found["type"]

    def _enum(self, found: dict[str, Any]) -> None:
        if self._rules.const_as_enum and "const" in found:
            found["enum"] = [found.pop("const")]
            self.notes.add(f"{self._field}.const", "translate", "as `enum` of one value")
        values = found.get("enum")
        if self._rules.string_enums and values is not None:
            if all(isinstance(value, str) for value in as_list(values)):
                return
            del found["enum"]
            self._note("enum", "the target takes text only")

    def _strict(self, found: dict[str, Any]) -> None:
        found["required"] = list(as_object(found.get("properties")))
        found["additionalProperties"] = False

    def _note(self, what: str, because: str) -> None:
        self.notes.add(f"{self._field}.{what}", "drop", because)


def strict_fits(schema: Any) -> bool:
    """Whether a schema means the same under OpenAI's `strict`: all required, no others, throughout.

    Source: OpenAI's guide to structured outputs, "Supported schemas".
    """
    if isinstance(schema, list):
        return all(map(strict_fits, as_list(schema)))
    found = as_object(schema)
    if found.get("type") == "object" or "properties" in found:
        names = as_object(found.get("properties")).keys()
        if found.get("additionalProperties") is not False:
            return False
        if names != set(map(str, as_list(found.get("required")))):
            return False
    inner = [found[key] for key in ("items", "anyOf") if key in found]
    inner += [s for key in ("properties", "$defs") for s in as_object(found.get(key)).values()]
    return all(map(strict_fits, inner))
