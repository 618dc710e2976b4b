"""Write the grammar of a call: one function per format, as rules of llguidance's Lark.

`_grammar` decides which calls are allowed. The syntax: llguidance, `docs/syntax.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._families._base import CallFormat, Shape
from plugway_toolcalls._members import Members, kinds_of, members_of
from plugway_toolcalls._references import resolved
from plugway_toolcalls._rules import JSON_KEY, NotWritable, Rules, quoted
from plugway_toolcalls._terminals import NUMBER
from plugway_toolcalls._tokens import CDATA, CDATA_END
from plugway_toolcalls._tools import json_type

_TAG_KEY: Final = r'[^<>"\n]+'
_BARE_KEY: Final = r"[^\s{}\[\],:\"<>]+( [^\s{}\[\],:\"<>]+)*"
_MAX_DEPTH: Final = 6
_NAME: Final = r"[^\W\d][\w-]*"
"""Names of arguments that `read_python` accepts."""
_SINGLE_QUOTED: Final = r"""/'([^'\\\x00-\x1f]|\\[\\'"nrtbf])*'/"""
_TEXT_RULES: Final = {"pattern", "format", "minLength", "maxLength", "enum", "const", "allOf"}
_JSON_TYPES: Final = {"number", "boolean", "null", "array", "object"}


class Lark(Rules):
    """The rules of one grammar of calls."""

    def call(self, spec: CallFormat, name: str, schema: Mapping[str, Any]) -> str:
        """A call of one tool, from the end of the opening marker to the end of the call."""
        shape = spec.shape
        if shape is None:
            raise NotWritable("the format is only parsed")
        flexible = spec.kind == "object"
        head = self.literal(shape.before + name + shape.between, flexible=flexible)
        tail = self.literal(shape.after, flexible=flexible)
        body, members = self.arguments(schema), members_of(schema)
        if spec.kind == "tags":
            body = f"({self._tags(spec, shape, members, 0)} | {body})"
        elif spec.kind == "braces":
            body = f"({self._braces(shape.quote, members, 0)} | {body})"
        elif spec.kind == "python":
            body = self._python_arguments(members, body)
        return self.rule(f"{head} {body} {tail}")

    def arguments(self, schema: Mapping[str, Any]) -> str:
        """The arguments of a call as one JSON object."""
        # A part of the schema on its own still refers to definitions of the whole.
        self._definitions = {k: schema[k] for k in ("$defs", "definitions") if k in schema}
        self._made = {}
        return self._object(members_of(schema))

    # Tags

    def _tags(self, spec: CallFormat, shape: Shape, members: Members, depth: int) -> str:
        def each(name: str, value: Any) -> str:
            return self._tag(spec, name, as_object(value), members, depth)

        return self._any_order(members, each, "")

    def _tag(
        self, spec: CallFormat, name: str, schema: dict[str, Any], members: Members, depth: int
    ) -> str:
        shape = spec.shape
        assert shape is not None
        schema = resolved(schema, self._definitions)
        kinds = kinds_of(schema, self._definitions)
        words = _words(schema)
        plain = self._key(shape.key, name, members)
        if "{key}" in shape.value_end and not name:
            return self._any_tag(shape, members)
        end_text = shape.value_end.replace("{key}", name)
        end = self.literal(end_text)
        if words:
            framed = [f"{CDATA}{word}{CDATA_END}" for word in words if spec.cdata]
            return self.rule(f"{plain} ({' | '.join(map(quoted, [*words, *framed]))}) {end}")
        if spec.nested and (tree := self._tree(spec, name, schema, depth)):
            return self.rule(f"{plain} {tree}")
        typed = self._typed(shape, name, schema, members) if shape.typed else plain
        if kinds and "string" not in kinds:
            return self.rule(f"{typed} {self.json(schema)} {end}")
        text = f"{plain} {self._until(end_text)}"
        if shape.typed and kinds != {"string"}:
            return self.rule(f"{text} | {typed} {self.json(schema)} {end}")
        return self.rule(text)

    def _typed(self, shape: Shape, name: str, schema: dict[str, Any], members: Members) -> str:
        """What opens an argument that is not a string; with its type, where the format says it."""
        if "{type}" not in shape.typed:
            return self._key(shape.typed, name, members)
        kinds = kinds_of(schema, self._definitions) - {"string"} or _JSON_TYPES
        types = sorted({json_type(kind) for kind in kinds})
        keys = (self._key(shape.typed.replace("{type}", kind), name, members) for kind in types)
        return f"({' | '.join(keys)})"

    def _tree(self, spec: CallFormat, name: str, schema: dict[str, Any], depth: int) -> str:
        """A list or an object as more tags, up to the closing tag; empty: it may be a text."""
        shape, kinds = spec.shape, kinds_of(schema, self._definitions)
        assert shape is not None
        if not kinds and "properties" in schema:
            kinds = {"object"}
        if not kinds or not kinds <= {"array", "object"} or "allOf" in schema:
            return ""
        end = self.literal(shape.value_end.replace("{key}", name))
        inner = ""
        if kinds == {"array"} and schema.get("items") and depth < _MAX_DEPTH:
            items = Members({"item": schema["items"]}, frozenset(), None)
            item = as_object(schema["items"])
            inner = self._once(
                "tags", schema, lambda: f"({self._tag(spec, 'item', item, items, depth + 1)})*"
            )
        elif kinds == {"object"} and depth < _MAX_DEPTH:
            members = members_of({**self._definitions, **schema})
            inner = self._once("tags", schema, lambda: self._tags(spec, shape, members, depth + 1))
        as_json = f"{self.json(schema)} {end}"
        if inner:
            return self.rule(f"{inner} {end} | {as_json}")
        begun = self.literal(shape.key.partition("{key}")[0])
        free = self._until(shape.value_end.replace("{key}", name))
        return self.rule(f"{as_json} | {begun} {free}")

    def _any_tag(self, shape: Shape, members: Members) -> str:
        """A text or JSON under any other name, whose closing tag repeats it.

        A grammar cannot say that the two names are the same; the reader does.
        """
        before, _, after = shape.value_end.partition("{key}")
        name = self._other_key(members, _TAG_KEY, str)
        key = self._key(shape.key, "", members)
        return self.rule(f"{key} {self._until(before)} {name} {self.literal(after)}")

    def _key(self, opening: str, name: str, members: Members) -> str:
        before, _, after = opening.partition("{key}")
        # The name is a separate terminal: a longer one would hide other names from the lexer.
        key = quoted(name) if name else self._other_key(members, _TAG_KEY, str)
        return f"{self.literal(before)} {key} {self.literal(after)}"

    # Python

    def _python_arguments(self, members: Members, as_json: str) -> str:
        """Named arguments, or one object where a name is none in Python."""

        def each(name: str, value: Any) -> str:
            if not name:
                return f'{self._other_key(members, _NAME, str)} "=" {self._any_python()}'
            return self.rule(f'{quoted(name)} "=" {self._python(as_object(value), 0)}')

        known = {name: v for name, v in members.known.items() if re.fullmatch(_NAME, name)}
        if not members.required & members.known.keys() <= known.keys():
            return as_json
        named = self._any_order(replace(members, known=known), each, '", "')
        return f"({named} | {as_json})"

    def _python(self, schema: dict[str, Any], depth: int) -> str:
        schema = resolved(schema, self._definitions)
        kinds = kinds_of(schema, self._definitions)
        if words := _words(schema):
            return f"({' | '.join(quoted(form) for word in words for form in _both(word))})"
        if kinds == {"string"}:
            text = self.json(schema)
            is_free = not schema.keys() & _TEXT_RULES
            return self.rule(f"{text} | {_SINGLE_QUOTED}" if is_free else text)
        if kinds == {"boolean"} and not schema.keys() & {"enum", "const"}:
            return '("True" | "False" | "true" | "false")'
        if kinds and kinds <= {"integer", "number"}:
            return self.json(schema)
        if depth >= _MAX_DEPTH:
            return self._any_python()
        if kinds == {"array"} and "items" in schema:
            return self._once("python", schema, lambda: self._python_list(schema, depth))
        if kinds == {"object"} and schema.get("properties"):
            members = members_of({**self._definitions, **schema})
            return self._once("python", schema, lambda: self._python_dict(members, depth))
        return self._any_python()

    def _python_list(self, schema: dict[str, Any], depth: int) -> str:
        item = self._python(as_object(schema["items"]), depth + 1)
        return f'"[" ({item} (", " {item})*)? "]"'

    def _python_dict(self, members: Members, depth: int) -> str:
        def each(name: str, value: Any) -> str:
            if not name:
                return f'{self._other_key(members, JSON_KEY, quoted)} ": " {self._any_python()}'
            keys = " | ".join(map(quoted, _both(name)))
            return self.rule(f'({keys}) ": " {self._python(as_object(value), depth + 1)}')

        return self.rule(f'"{{" {self._any_order(members, each, chr(34) + ", " + chr(34))} "}}"')

    def _any_python(self) -> str:
        if "any_python" not in self._shared:
            self._shared.add("any_python")
            text = f"{self.json({'type': 'string'})} | {_SINGLE_QUOTED}"
            key = f'({text}) ": " any_python'
            self._rules.append(
                f'any_python: {text} | {NUMBER} | "True" | "False" | "None" | "true" | "false"'
                ' | "null" | "[" (any_python (", " any_python)*)? "]"'
                f' | "{{" ({key} (", " {key})*)? "}}"'
            )
        return "any_python"

    # Braces

    def _braces(self, quote: str, members: Members, depth: int) -> str:
        """An object with bare keys, as Gemma's template writes it."""

        def each(name: str, value: Any) -> str:
            if not name:
                return f'{self._other_key(members, _BARE_KEY, str)} ":" {self._anything(quote)}'
            return f'{quoted(name)} ":" {self._brace_value(quote, value, depth + 1)}'

        return self.rule(f'"{{" {self._any_order(members, each, chr(34) + "," + chr(34))} "}}"')

    def _brace_value(self, quote: str, node: Any, depth: int) -> str:
        schema = resolved(as_object(node), self._definitions)
        kinds = kinds_of(schema, self._definitions)
        if words := _words(schema):
            options = " | ".join(self.literal(f"{quote}{word}{quote}") for word in words)
            return self.rule(options)
        if kinds == {"string"}:
            return self.rule(f"{self.literal(quote)} {self._until(quote)}")
        if kinds and kinds <= {"integer", "number", "boolean", "null"}:
            return self.json(schema)
        if schema.get("type") == "array" and "items" in schema and depth < _MAX_DEPTH:
            return self._once("braces", schema, lambda: self._brace_list(quote, schema, depth))
        if schema.get("type") == "object" and schema.get("properties") and depth < _MAX_DEPTH:
            members = members_of({**self._definitions, **schema})
            return self._once("braces", schema, lambda: self._braces(quote, members, depth))
        return self._anything(quote)

    def _brace_list(self, quote: str, schema: dict[str, Any], depth: int) -> str:
        item = self._brace_value(quote, schema["items"], depth + 1)
        return f'"[" ({item} ("," {item})*)? "]"'

    def _anything(self, quote: str) -> str:
        if "any" not in self._shared:
            self._shared.add("any")
            text = self.rule(f"{self.literal(quote)} {self._until(quote)}")
            pair = f"/{_BARE_KEY}/ "
            self._rules.append(
                f'anything: {text} | {NUMBER} | "true" | "false" | "null"'
                ' | "[" (anything ("," anything)*)? "]"'
                f' | "{{" ({pair} ":" anything ("," {pair} ":" anything)*)? "}}"'
            )
        return "anything"


def _words(schema: Mapping[str, Any]) -> list[str]:
    """The values, if the schema only lists text values."""
    values = as_list(schema.get("enum")) or ([schema["const"]] if "const" in schema else [])
    return (
        [v for v in values if isinstance(v, str)] if all(isinstance(v, str) for v in values) else []
    )


def _both(text: str) -> tuple[str, ...]:
    """A string as Python may write it."""
    double = json.dumps(text, ensure_ascii=False)
    return (double, f"'{text}'") if not re.search(r"['\\\x00-\x1f\x7f]", text) else (double,)
