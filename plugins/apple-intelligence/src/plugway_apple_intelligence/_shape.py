"""JSON schemas reduced to what Apple's guided generation can express. Pure functions.

A part that it cannot express becomes a text that contains JSON, and is parsed again afterwards.

Sources: `generation_property.py`, `generation_guide.py` and `type_conversion.py` of apple-fm-sdk
0.2.1 for what a property can be; `tests/tester_schemas/*.json` of apple/python-apple-fm-sdk for the
JSON form, with `title` and `x-order`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from plugway import as_list, as_object
from plugway_translation import Notes

Kind = Literal["string", "integer", "number", "boolean", "object", "array"]
_SCALARS: Final = ("string", "integer", "number", "boolean")
_ITEMS: Final = ("string", "integer", "number", "object")
"""Items of arrays for which the SDK has guides or references."""
MAX_DEPTH: Final = 5
"""Objects nested more deeply, as in a schema that refers to itself, become JSON texts."""
_MOST: Final = 2**53
"""Larger bounds are dropped: Swift ends the process if a number does not fit its integers."""
_MOST_ITEMS: Final = 2**20
_ROOT: Final = "value"
_LOST: Final = ("pattern", "format", "minLength", "maxLength", "multipleOf", "uniqueItems")
"""Keywords that are dropped; the prompt still has the descriptions."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One value: a scalar, an array of one kind, or an object with known fields."""

    kind: Kind
    name: str = ""
    """The field's name, or the name of an object's type."""
    description: str = ""
    optional: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    min_items: int | None = None
    max_items: int | None = None
    item: Shape | None = None
    fields: tuple[Shape, ...] = ()
    title: str = ""
    """Unique name of an object's type."""
    packed: bool = False
    """A string whose content is JSON."""
    wraps: bool = False
    """An object whose only field is the value of a schema that is not an object."""


def shape_of(schema: Any, title: str, notes: Notes, where: str) -> Shape:
    """The shape of an object schema. What is lost is added to `notes`, at the field `where`."""
    root = as_object(schema)
    made = _Reader(root, notes, where).read(root, "", title, 0)
    if made.kind != "object":
        notes.add(where, "translate", "its root is not an object with known fields: one JSON text")
        field = replace(made, name=_ROOT, optional=False)
        return Shape("object", title=title, fields=(field,), wraps=True)
    return made


def schema_json(shape: Shape) -> dict[str, Any]:
    """The shape in the JSON form that Apple's `GenerationSchema` decodes."""
    found: dict[str, Any] = {"type": shape.kind}
    if shape.description:
        found["description"] = shape.description
    match shape.kind:
        case "object":
            names = [field.name for field in shape.fields]
            found |= {
                "title": shape.title,
                "properties": {field.name: schema_json(field) for field in shape.fields},
                "required": [field.name for field in shape.fields if not field.optional],
                "additionalProperties": False,
                "x-order": names,
            }
        case "array":
            item = shape.item
            found["items"] = schema_json(item) if item else {"type": "string"}
            found |= _present(minItems=shape.min_items, maxItems=shape.max_items)
        case _:
            found |= _present(minimum=shape.minimum, maximum=shape.maximum)
            if shape.choices:
                found["enum"] = list(shape.choices)
    return found


def _unpacked(shape: Shape, value: Any) -> Any:
    """`value` with its JSON texts parsed; a text that is not JSON stays a text."""
    if shape.packed and isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    if shape.kind == "array" and shape.item and isinstance(value, list):
        return [_unpacked(shape.item, item) for item in as_list(value)]
    if shape.kind == "object" and isinstance(value, Mapping):
        known = {field.name: field for field in shape.fields}
        return {
            name: _unpacked(known[name], item) if name in known else item
            for name, item in as_object(value).items()
        }
    return value


def whole(shape: Shape, value: Any) -> Any:
    """The value of the client's schema from a generated object (see `shape_of`)."""
    found = _unpacked(shape, value)
    return as_object(found).get(_ROOT) if shape.wraps else found


def packed(shape: Shape, value: Any) -> Any:
    """The generated object that stands for `value`: the inverse of `whole`."""
    return _packed(shape, {_ROOT: value} if shape.wraps else value)


def _packed(shape: Shape, value: Any) -> Any:
    if shape.packed and not isinstance(value, str):
        return orjson.dumps(value).decode()
    if shape.kind == "array" and shape.item and isinstance(value, list):
        return [_packed(shape.item, item) for item in as_list(value)]
    if shape.kind == "object" and isinstance(value, Mapping):
        known = {field.name: field for field in shape.fields}
        return {
            name: _packed(known[name], item) if name in known else item
            for name, item in as_object(value).items()
        }
    return value


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class _Reader:
    def __init__(self, root: Mapping[str, Any], notes: Notes, where: str) -> None:
        self._root = root
        self._notes = notes
        self._where = where
        self._titles: set[str] = set()

    def read(self, schema: Mapping[str, Any], name: str, title: str, depth: int) -> Shape:
        """The shape of one subschema."""
        schema, optional = self._resolved(schema)
        text = str(schema.get("description") or "")
        kind = _kind_of(schema)
        if kind == "object" and schema.get("properties") and depth < MAX_DEPTH:
            made = self._object(schema, title, depth)
        elif kind == "array" and (item := self._item(schema, title, depth)) is not None:
            least, most = _bounds(schema, "minItems", "maxItems", _MOST_ITEMS)
            few, many = (None if size is None else int(size) for size in (least, most))
            made = Shape("array", item=item, min_items=few, max_items=many)
        elif kind in _SCALARS:
            made = self._scalar(schema, kind)
        else:
            made, text = self._packed(schema, name, text), _packed_text(schema, text)
        self._note_lost(schema)
        return replace(made, name=name, description=text, optional=optional)

    def _object(self, schema: Mapping[str, Any], title: str, depth: int) -> Shape:
        title = self._unique(title)
        required = set(map(str, as_list(schema.get("required"))))
        fields = [
            self._field(as_object(inner), str(name), title, depth, str(name) in required)
            for name, inner in as_object(schema.get("properties")).items()
        ]
        return Shape("object", title=title, fields=tuple(fields))

    def _field(
        self, schema: Mapping[str, Any], name: str, title: str, depth: int, required: bool
    ) -> Shape:
        found = self.read(schema, name, f"{title}_{name}", depth + 1)
        return found if required else replace(found, optional=True)

    def _item(self, schema: Mapping[str, Any], title: str, depth: int) -> Shape | None:
        items = as_object(schema.get("items"))
        if not items:
            return None
        item = self.read(items, "", f"{title}_item", depth + 1)
        return item if item.kind in _ITEMS and not item.packed else None

    def _scalar(self, schema: Mapping[str, Any], kind: Kind) -> Shape:
        options = as_list(schema.get("enum")) or as_list([schema.get("const")])
        texts = tuple(one for one in options if isinstance(one, str)) if kind == "string" else ()
        if options != [None] and len(texts) < len(options):
            self._notes.add(f"{self._where}.enum", "drop", "Apple's guides list texts only")
        if kind in ("string", "boolean"):
            return Shape(kind, choices=texts)
        low, high = _bounds(schema, "minimum", "maximum", _MOST)
        return Shape(kind, minimum=low, maximum=high)

    def _packed(self, schema: Mapping[str, Any], name: str, text: str) -> Shape:
        what = f"`{name}`" if name else "its root"
        self._notes.add(self._where, "translate", f"{what} is written as a text that contains JSON")
        return Shape("string", packed=True)

    def _resolved(self, schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """The schema behind references and unions with `null`, and whether it may be missing."""
        optional = False
        for _ in range(MAX_DEPTH):
            reference = schema.get("$ref")
            union = as_list(schema.get("anyOf")) or as_list(schema.get("oneOf"))
            parts = [part for part in map(as_object, union) if part.get("type") != "null"]
            if isinstance(reference, str):
                target = _found(self._root, reference)
                schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
            elif len(parts) == 1:
                optional |= len(union) > 1
                outer = {k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}
                schema = {**parts[0], **outer}
            else:
                break
        return schema, optional or "null" in as_list(schema.get("type"))

    def _note_lost(self, schema: Mapping[str, Any]) -> None:
        for key in _LOST:
            if key in schema:
                self._notes.add(f"{self._where}.{key}", "drop", "Apple's guides have no such bound")

    def _unique(self, title: str) -> str:
        clean = "".join(letter if letter.isalnum() else "_" for letter in title) or "Value"
        name, number = clean, 1
        while name in self._titles:
            number += 1
            name = f"{clean}{number}"
        self._titles.add(name)
        return name


def _kind_of(schema: Mapping[str, Any]) -> Kind:
    """The one type of a schema; `object` for anything that is not one known type."""
    given = schema.get("type")
    kinds = [kind for kind in as_list(given) if kind != "null"] if isinstance(given, list) else []
    kind: Any = given if isinstance(given, str) else kinds[0] if len(kinds) == 1 else None
    if kind in (*_SCALARS, "array", "object"):
        return kind
    options = as_list(schema.get("enum")) or [schema.get("const")]
    return "string" if all(isinstance(one, str) for one in options) else "object"


def _bounds(
    schema: Mapping[str, Any], low: str, high: str, most: int
) -> tuple[float | None, float | None]:
    """Two bounds; none if they exclude each other, because Swift ends the process then."""
    found = [
        value
        if isinstance(value := schema.get(key), int | float)
        and not isinstance(value, bool)
        and abs(value) <= most
        else None
        for key in (low, high)
    ]
    least, largest = found
    if least is not None and largest is not None and least > largest:
        return None, None
    return least, largest


def _found(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    """The target of `#/$defs/NAME`; empty if there is none."""
    here: Mapping[str, Any] = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        here = as_object(here.get(part.replace("~1", "/").replace("~0", "~"))) if part else here
    return here if reference.startswith("#") else {}


def _packed_text(schema: Mapping[str, Any], text: str) -> str:
    shown = orjson.dumps({k: v for k, v in schema.items() if k != "description"}).decode()
    return f"{text} As JSON text, matching {shown[:500]}".strip()
