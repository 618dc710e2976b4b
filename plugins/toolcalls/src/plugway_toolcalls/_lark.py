"""Writes the grammar of a call: one function per kind of format, as rules of llguidance's Lark.

Which calls are allowed when is `_grammar`'s business. The syntax: llguidance, `docs/syntax.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._families._base import CallFormat, Shape

JSON_STYLE: Final[dict[str, Any]] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}
"""As `json.dumps` writes: what models saw in training, and no white space without end."""

_ANY: Final = r"/(?s:.*)/"
_FLEXIBLE = re.compile(r"((?<=[:,]) |\n)")
_MAX_DEPTH: Final = 6

Split = Callable[[str], list[str]]


class NotWritable(ValueError):
    """The format cannot be written with this vocabulary."""


class Lark:
    """Gathers the rules of one grammar."""

    def __init__(self, special: Mapping[str, int], split: Split) -> None:
        self._special, self._split = special, split
        self._rules: list[str] = []
        self._shared: set[str] = set()
        self._definitions: dict[str, Any] = {}

    def text(self, start: str) -> str:
        """The grammar that begins with `start`."""
        return "\n".join([f"start: {start}", *self._rules, ""])

    def rule(self, body: str, *, attributes: str = "") -> str:
        """Add a rule; its name."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{attributes}: {body}")
        return name

    def literal(self, text: str, *, flexible: bool = False) -> str:
        """Exactly `text`; markers of the vocabulary as their tokens.

        `flexible`: single spaces and line breaks may be left out, as models differ in them.
        """
        pieces: list[str] = []
        for piece in self._split(text):
            if piece in self._special:
                pieces.append(f"<[{self._special[piece]}]>")
            else:
                pieces += self._plain(piece, flexible)
        return " ".join(pieces)

    def json(self, schema: Mapping[str, Any]) -> str:
        """One JSON value."""
        styled = {**self._definitions, **schema, "x-guidance": JSON_STYLE}
        return self.rule(f"%json {json.dumps(styled)}")

    def call(self, spec: CallFormat, name: str, schema: Mapping[str, Any]) -> str:
        """A call of one tool, from after the opening marker to its end."""
        shape = spec.shape
        if shape is None:
            raise NotWritable("the format is only read")
        # A part of the schema that stands alone still refers to what the whole defines.
        self._definitions = {k: schema[k] for k in ("$defs", "definitions") if k in schema}
        flexible = spec.kind == "object"
        head = self.literal(shape.before + name + shape.between, flexible=flexible)
        tail = self.literal(shape.after, flexible=flexible)
        if spec.kind == "tags":
            body = self._tags(shape, schema)
        elif spec.kind == "braces":
            body = self._braces(shape.quote, schema, 0)
        else:
            body = self.json(schema)
        return self.rule(f"{head} {body} {tail}")

    def _plain(self, text: str, flexible: bool) -> list[str]:
        if not flexible:
            return [json.dumps(text, ensure_ascii=False)]
        spaces = {" ": "/ ?/", "\n": r"/\n?/"}
        pieces = [piece for piece in _FLEXIBLE.split(text) if piece]
        return [spaces.get(piece) or json.dumps(piece, ensure_ascii=False) for piece in pieces]

    def _until(self, end: str) -> str:
        """Any text up to and including `end`, which it does not hold."""
        pieces = self._split(end)
        if pieces and pieces[0] in self._special:
            return f"{_ANY} {self.literal(end)}"
        if any(piece in self._special for piece in pieces):
            raise NotWritable(f"{end!r} is cut by a token of its own")
        suffix = json.dumps(end, ensure_ascii=False)
        return self.rule(_ANY, attributes=f"[suffix={suffix}]")

    # Tags

    def _tags(self, shape: Shape, schema: Mapping[str, Any]) -> str:
        required = set(as_list(schema.get("required")))
        properties = as_object(schema.get("properties"))
        parts = [
            self._tag(shape, name, as_object(value)) + ("" if name in required else "?")
            for name, value in properties.items()
        ]
        return self.rule(" ".join(parts) or '""')

    def _tag(self, shape: Shape, name: str, schema: dict[str, Any]) -> str:
        words = _words(schema)
        typed = schema.get("type") in ("integer", "number", "boolean", "array", "object")
        opening = (shape.typed or shape.key) if typed else shape.key
        head = self.literal(opening.replace("{key}", name))
        if words:
            options = " | ".join(json.dumps(word, ensure_ascii=False) for word in words)
            return self.rule(f"{head} ({options}) {self.literal(shape.value_end)}")
        if typed:
            return self.rule(f"{head} {self.json(schema)} {self.literal(shape.value_end)}")
        return self.rule(f"{head} {self._until(shape.value_end)}")

    # Braces

    def _braces(self, quote: str, schema: Mapping[str, Any], depth: int) -> str:
        """An object with bare keys in the order of the alphabet, as Gemma's template writes it."""
        properties = sorted(as_object(schema.get("properties")).items())
        required = set(as_list(schema.get("required")))
        after: dict[bool, str] = {True: '""', False: '""'}
        for name, value in reversed(properties):
            member = self.literal(f"{name}:") + " " + self._brace_value(quote, value, depth + 1)
            before: dict[bool, str] = {}
            for started in (True, False):
                comma = '"," ' if started else ""
                options = [f"{comma}{member} {after[True]}"]
                if name not in required:
                    options.append(after[started])
                before[started] = self.rule(" | ".join(options))
            after = before
        return self.rule(f'"{{" {after[False]} "}}"')

    def _brace_value(self, quote: str, node: Any, depth: int) -> str:
        schema = as_object(node)
        kind = schema.get("type")
        if words := _words(schema):
            options = " | ".join(self.literal(f"{quote}{word}{quote}") for word in words)
            return self.rule(options)
        if kind == "string":
            return self.rule(f"{self.literal(quote)} {self._until(quote)}")
        if kind in ("integer", "number", "boolean", "null"):
            return self.json(schema)
        if kind == "array" and depth < _MAX_DEPTH:
            item = self._brace_value(quote, schema.get("items"), depth + 1)
            return self.rule(f'"[" ({item} ("," {item})*)? "]"')
        if kind == "object" and schema.get("properties") and depth < _MAX_DEPTH:
            return self._braces(quote, schema, depth)
        return self._anything(quote)

    def _anything(self, quote: str) -> str:
        if "any" not in self._shared:
            self._shared.add("any")
            text = self.rule(f"{self.literal(quote)} {self._until(quote)}")
            number = self.json({"type": "number", "minimum": -(10**18), "maximum": 10**18})
            pair = r"/[A-Za-z_][A-Za-z0-9_-]*/ "
            self._rules.append(
                f'anything: {text} | {number} | "true" | "false" | "null"'
                ' | "[" (anything ("," anything)*)? "]"'
                f' | "{{" ({pair} ":" anything ("," {pair} ":" anything)*)? "}}"'
            )
        return "anything"


def _words(schema: Mapping[str, Any]) -> list[str]:
    """The values, where the schema lists text values only."""
    values = as_list(schema.get("enum")) or ([schema["const"]] if "const" in schema else [])
    return (
        [v for v in values if isinstance(v, str)] if all(isinstance(v, str) for v in values) else []
    )
