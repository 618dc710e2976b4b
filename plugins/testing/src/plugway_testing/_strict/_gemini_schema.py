"""Rules for Gemini's schemas of functions and output: `Schema`, a subset of OpenAPI 3.0.

Sources: ai.google.dev/api/caching#Schema for the fields; error messages quoted in public reports:
Smana/runlore#40 (`cannot be empty`), musistudio/llms#20 (`only allowed for STRING type`),
browser-use/browser-use#3786 (`should be non-empty for OBJECT type`), moltis-org/moltis#747
(`property is not defined`), google/adk-python and others (`any_of`, `format`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict._rules import Object, Refusal, words

KEYWORDS: Final = words("""
    type format title description nullable enum maxItems minItems properties required
    minProperties maxProperties minLength maxLength pattern example anyOf propertyOrdering default
    items minimum maximum""")
TYPES: Final = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_FORMATS: Final = {
    "STRING": ("enum", "date-time"),
    "NUMBER": ("float", "double"),
    "INTEGER": ("int32", "int64"),
}
_ONLY: Final = {"properties": "OBJECT", "required": "OBJECT", "items": "ARRAY"}


def declared(schema: Any, place: str) -> Iterator[Refusal]:
    """Check the schema at `place` (`tools[0].function_declarations[1].parameters`)."""
    found = as_object(schema)
    for name in found.keys() - KEYWORDS:
        yield _unknown(name, place)
    kind = found.get("type")
    if kind is not None and (not isinstance(kind, str) or kind.upper() not in TYPES):
        text = f"Invalid value at '{place}.type'"
        yield Refusal(f"{text} (type.googleapis.com/google.ai.generativelanguage.v1beta.Type)")
    yield from _typed(found, str(kind).upper(), place)
    for name, inner in as_object(found.get("properties")).items():
        yield from declared(inner, f"{place}.properties[{name}]")
    if isinstance(found.get("items"), dict):
        yield from declared(found["items"], f"{place}.items")
    for index, inner in enumerate(as_list(found.get("anyOf"))):
        yield from declared(inner, f"{place}.any_of[{index}]")


def _unknown(name: str, place: str) -> Refusal:
    text = f'Invalid JSON payload received. Unknown name "{name}" at'
    return Refusal(f"{text} '{place}': Cannot find field.")


def _typed(found: Object, kind: str, place: str) -> Iterator[Refusal]:
    where = f"* GenerateContentRequest.{place}"
    if "anyOf" in found:
        if len(found) > 1:
            text = "schema specified other fields alongside any_of. When using any_of, it must be"
            yield Refusal(f"{where}: {text} the only field set.\n")
        return
    if "type" not in found:
        yield Refusal(f"{where}.type: must be specified\n")
    for name, only in _ONLY.items():
        if name in found and kind != only:
            yield Refusal(f"{where}.{name}: only allowed for {only} type\n")
    if kind == "OBJECT" and found.get("properties") == {}:
        yield Refusal(f"{where}.properties: should be non-empty for OBJECT type\n")
    if kind == "ARRAY" and not as_object(found.get("items")):
        yield Refusal(f"{where}.items: missing field.\n")
    yield from _values(found, kind, where)
    properties = as_object(found.get("properties"))
    for index, name in enumerate(as_list(found.get("required"))):
        if name not in properties:
            yield Refusal(f"{where}.required[{index}]: property is not defined\n")


def _values(found: Object, kind: str, where: str) -> Iterator[Refusal]:
    formats = _FORMATS.get(kind, ())
    if found.get("format") is not None and found["format"] not in formats:
        allowed = " and ".join(f"'{name}'" for name in formats) or "none"
        yield Refusal(f"{where}.format: only {allowed} are supported for {kind} type\n")
    if "enum" not in found:
        return
    if kind != "STRING":
        yield Refusal(f"{where}.enum: only allowed for STRING type\n")
    for index, value in enumerate(as_list(found["enum"])):
        if not isinstance(value, str):
            place = where.removeprefix("* GenerateContentRequest.")
            yield Refusal(f"Invalid value at '{place}.enum[{index}]' (TYPE_STRING), {value}")
        elif not value:
            yield Refusal(f"{where}.enum[{index}]: cannot be empty\n")
    if not as_list(found["enum"]) and found.get("format") == "enum":
        yield Refusal(f"{where}.enum: should be non-empty for STRING type with enum format\n")
