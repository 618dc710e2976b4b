"""Rules of a grammar in llguidance's Lark: literals, members in any order, and JSON values.

`_lark` writes the calls of each format. The syntax: llguidance, `docs/syntax.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from plugway import as_list, as_object
from plugway_toolcalls._members import Members, kinds_of, members_of
from plugway_toolcalls._references import resolved
from plugway_toolcalls._schema import SAYS_NOTHING, is_any_number, is_any_string, is_any_value
from plugway_toolcalls._terminals import INTEGER, JSON_STRING, NUMBER

JSON_STYLE: Final[dict[str, Any]] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": True,
}
"""The format of `json.dumps`: the one in models' training data, and without unlimited blanks."""

JSON_KEY: Final = r'"([^"\\\x00-\x1f]|\\["\\\/bfnrt])*"'
_ANY: Final = r"/(?s:.*)/"
_TRACKED: Final = 4
"""Maximum members whose use a grammar tracks, because each doubles its size."""
_FLEXIBLE = re.compile(r"((?<=[:,]) |\n)")
_MOST_ITEMS: Final = 1000
_MOST_PARTS: Final = 100
_LIST_KEYS: Final = {"type", "items", "minItems", "maxItems"}
_OBJECT_KEYS: Final = {
    "type",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
}

Split = Callable[[str], list[str]]


class NotWritable(ValueError):
    """The format cannot be written with this vocabulary."""


class Rules:
    """Collects the rules of one grammar."""

    def __init__(self, special: Mapping[str, int], split: Split) -> None:
        self._special, self._split = special, split
        self._rules: list[str] = []
        self._shared: set[str] = set()
        self._reserved = 0
        self._definitions: dict[str, Any] = {}
        self._made: dict[tuple[str, str], str] = {}
        """Rules by what they are for and their schema, for the call that is written."""

    def text(self, start: str) -> str:
        """The grammar that starts with `start`."""
        return "\n".join([f"start: {start}", *self._rules, ""])

    def rule(self, body: str, *, attributes: str = "") -> str:
        """Add a rule; returns its name."""
        name = f"r{len(self._rules)}"
        self._rules.append(f"{name}{attributes}: {body}")
        return name

    def literal(self, text: str, *, flexible: bool = False) -> str:
        """Exactly `text`; markers of the vocabulary as their tokens.

        `flexible`: single spaces and line breaks are optional, because models differ in them.
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
        if is_any_value(schema):
            return self._any_json()
        if is_any_number(schema):
            return INTEGER if schema["type"] == "integer" else NUMBER
        if is_any_string(schema):
            return JSON_STRING
        whole = resolved(schema, self._definitions)
        if _is_spelled_out(whole) or _is_combined(whole, self._definitions):
            return self._once("json", whole, lambda: self._spelled_out(whole))
        styled = {**self._definitions, **schema, "x-guidance": JSON_STYLE}
        return self.rule(f"%json {json.dumps(styled)}")

    def _any_order(self, members: Members, each: Callable[[str, Any], str], comma: str) -> str:
        """The members in any order; all required ones, and each at most once if they are few."""
        known = {name: each(name, value) for name, value in members.known.items()}
        needed = [name for name in known if name in members.required]
        tracked = list(known) if len(known) <= _TRACKED else needed[:_TRACKED]
        more = each("", members.more) if members.more is not None else ""
        made: dict[tuple[frozenset[str], bool], str] = {}

        def rest(left: frozenset[str], *, started: bool) -> str:
            if (left, started) in made:
                return made[left, started]
            made[left, started] = name = self._reserve()
            before = comma if started else ""
            options = [
                f"{before} {text} {rest(left - {key}, started=True)}"
                for key, text in known.items()
                if key in left or key not in tracked
            ]
            if more:
                options.append(f"{before} {more} {rest(left, started=True)}")
            if not left & members.required:
                options.append('""')
            self._rules.append(f"{name}: {' | '.join(options)}")
            return name

        return rest(frozenset(tracked), started=False)

    def _reserve(self) -> str:
        self._reserved += 1
        return f"m{self._reserved}"

    def _once(self, what: str, schema: Mapping[str, Any], make: Callable[[], str]) -> str:
        """The rule for a schema, which may contain itself by reference."""
        key = (what, json.dumps(schema))
        if key not in self._made:
            self._made[key] = name = self._reserve()
            self._rules.append(f"{name}: {make()}")
        return self._made[key]

    # JSON

    def _object(self, members: Members) -> str:
        """One JSON object in the format of `json.dumps`, but with members in any order."""

        def each(name: str, value: Any) -> str:
            key = self._other_key(members, JSON_KEY, quoted)
            if name:
                key = json.dumps(quoted(name), ensure_ascii=False)
            return self.rule(f'{key} ": " {self.json(value)}')

        return self.rule(f'"{{" {self._any_order(members, each, chr(34) + ", " + chr(34))} "}}"')

    def _spelled_out(self, schema: dict[str, Any]) -> str:
        """A list, an object or one of several values, with the members of objects in any order."""
        if branches := _branches(schema):
            return " | ".join(self.json(branch) for branch in branches)
        if schema.get("type") != "array":
            return self._object(members_of({**self._definitions, **schema}))
        item = self.json(as_object(schema["items"]))
        least, most = schema.get("minItems", 0), schema.get("maxItems", "")
        more = f"{{{max(least - 1, 0)},{most and most - 1}}}"
        return f'"[" ({item} (", " {item}){more}){"" if least else "?"} "]"'

    def _any_json(self) -> str:
        if "any_json" not in self._shared:
            self._shared.add("any_json")
            text = self.json({"type": "string"})
            pair = f'{text} ": " any_json'
            self._rules.append(
                f'any_json: {text} | {NUMBER} | "true" | "false" | "null"'
                ' | "[" (any_json (", " any_json)*)? "]"'
                f' | "{{" ({pair} (", " {pair})*)? "}}"'
            )
        return "any_json"

    def _other_key(self, members: Members, any_key: str, written: Callable[[str], str]) -> str:
        """A name that the schema does not list."""
        names = "|".join(_escaped(written(name)) for name in members.known)
        name = f"K{self._reserve()}".upper()
        self._rules.append(f"{name}: /{any_key}/" + (f" & ~/{names}/" if names else ""))
        return name

    def _plain(self, text: str, flexible: bool) -> list[str]:
        if not flexible:
            return [json.dumps(text, ensure_ascii=False)]
        spaces = {" ": "/ ?/", "\n": r"/\n?/"}
        pieces = [piece for piece in _FLEXIBLE.split(text) if piece]
        return [spaces.get(piece) or json.dumps(piece, ensure_ascii=False) for piece in pieces]

    def _until(self, end: str) -> str:
        """Any text up to and including `end`, which it does not contain."""
        pieces = self._split(end)
        if pieces and pieces[0] in self._special:
            return f"{_ANY} {self.literal(end)}"
        if any(piece in self._special for piece in pieces):
            raise NotWritable(f"a token of the vocabulary splits {end!r}")
        suffix = json.dumps(end, ensure_ascii=False)
        return self.rule(_ANY, attributes=f"[suffix={suffix}]")


def _is_spelled_out(schema: Mapping[str, Any]) -> bool:
    """Whether rules are written for the schema: `%json` takes members only in the schema's order,
    so that an argument that comes later could not be given."""
    keys = schema.keys() - SAYS_NOTHING
    if _branches(schema):
        return True
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        least, most = schema.get("minItems", 0), schema.get("maxItems", _MOST_ITEMS)
        counted = isinstance(least, int) and isinstance(most, int)
        return keys <= _LIST_KEYS and counted and least <= most and 0 < most <= _MOST_ITEMS
    return (
        schema.get("type") == "object" and keys <= _OBJECT_KEYS and bool(schema.get("properties"))
    )


def _is_combined(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether `allOf` combines objects with different members, and nothing else is said: a member
    that two of them have would make schemas that are not in the client's, without end."""
    left, names = [schema], list[str]()
    for _ in range(_MOST_PARTS):
        if not left:
            return "allOf" in schema and bool(names) and kinds_of(schema, root) == {"object"}
        found = resolved(left.pop(), root)
        names += as_object(found.get("properties"))
        if found.keys() - SAYS_NOTHING - _OBJECT_KEYS - {"allOf"} or len({*names}) < len(names):
            return False
        left += map(as_object, as_list(found.get("allOf")))
    return False


def _branches(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The schemas of which a value matches one, if that is all that is said."""
    if isinstance(kinds := schema.get("type"), list):
        whole = schema.keys() - SAYS_NOTHING <= _LIST_KEYS | _OBJECT_KEYS
        return [_of(kind, schema) for kind in as_list(kinds)] if whole else []
    keys = [key for key in ("anyOf", "oneOf", "allOf") if key in schema]
    if len(keys) != 1 or schema.keys() - SAYS_NOTHING != {*keys}:
        return []
    branches = as_list(schema[keys[0]])
    if not all(isinstance(branch, dict) for branch in branches):
        return []
    return [] if keys == ["allOf"] and len(branches) > 1 else list(map(as_object, branches))


def _of(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What the schema says of values of one type."""
    keys = {"object": _OBJECT_KEYS, "array": _LIST_KEYS}.get(kind, set[str]())
    return {**{key: schema[key] for key in keys & schema.keys()}, "type": kind}


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    """The text in a regular expression; what is not ASCII must not be escaped."""
    return re.sub(r"(?![\w -])[\x00-\x7f]", lambda match: f"\\x{ord(match[0]):02x}", text)
