"""Parse a call with one tag per argument, in which values are not escaped.

A tag inside a value is text: an argument ends where the format can continue, and the next argument
is one of the client's schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_object
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._members import kinds_of
from plugway_toolcalls._references import resolve
from plugway_toolcalls._tokens import Token, tokens_of
from plugway_toolcalls._tools import Tool, kind_of

_OPEN_SCHEMA: Final = {"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"}
_REFERENCES: Final = 16


class NotTags(ValueError):
    """The text cannot be parsed; the message has the reason."""


def read_body(spec: CallFormat, body: str, tool: Tool | None) -> dict[str, Any]:
    """The arguments in `body`, the text between the name and the closing tag.

    Raises:
        NotTags: part of it is not an argument, or is ambiguous.
    """
    reader = _Reader(spec, body, tool.schema if tool is not None else {})
    return reader.strictly() if not spec.unclosed else reader.loosely()


@dataclass(frozen=True, slots=True)
class Names:
    """The allowed arguments."""

    schema: Mapping[str, Any]

    @property
    def known(self) -> dict[str, Any]:
        return as_object(self.schema.get("properties"))

    @property
    def closed(self) -> bool:
        return self.schema.get("additionalProperties") is False and not (
            _OPEN_SCHEMA & self.schema.keys()
        )

    def allows(self, name: str) -> bool:
        """Whether the schema has the name, in any spelling."""
        return not self.closed or _plain(name) in {_plain(key) for key in self.known}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


class _Reader:
    def __init__(self, spec: CallFormat, body: str, schema: Mapping[str, Any]) -> None:
        self._spec, self._body, self._schema = spec, body, schema
        self._names = Names(_resolved(schema, schema))
        tokens = tokens_of(spec).of(body)
        self._tokens = [token for token in _outermost(tokens) if token.kind in {"key", "end"}]
        self._found: dict[str, Any] = {}

    def loosely(self) -> dict[str, Any]:
        try:
            return self.strictly()
        except NotTags as error:
            if any(token.kind == "end" for token in self._tokens):
                raise
            return self._without_ends(error)

    def strictly(self) -> dict[str, Any]:
        at = number = 0
        while at < len(self._body.rstrip()):
            key = self._key(number, at)
            number = self._end(number + 1, key)
            end = self._tokens[number]
            self._put(key, self._body[key.end : end.start])
            at, number = end.end, number + 1
        return self._found

    def _key(self, number: int, at: int) -> Token:
        token = self._tokens[number] if number < len(self._tokens) else None
        if token is None or token.kind != "key" or self._body[at : token.start].strip():
            raise NotTags(f"{self._body[at : at + 40].strip()!r} is not an argument")
        if not self._names.allows(_name(token)):
            raise NotTags(f"there is no argument {_name(token)[:80]!r}")
        return token

    def _end(self, number: int, key: Token) -> int:
        """The token that ends the argument of `key`."""
        taken = {*self._found, _name(key)}
        first = next(iter(self._found), _name(key))
        for index in range(number, len(self._tokens)):
            token = self._tokens[index]
            if token.kind != "end":
                continue
            following = self._tokens[index + 1] if index + 1 < len(self._tokens) else None
            until = following.start if following is not None else len(self._body)
            if self._body[token.end : until].strip():
                continue
            if following is None:
                return index
            if following.kind == "key" and _name(following) in taken - {first}:
                raise NotTags(f"the start of the argument {_name(following)[:80]!r} is ambiguous")
            if following.kind == "key" and _name(following) not in taken:
                if not self._names.allows(_name(following)):
                    raise NotTags(f"there is no argument {_name(following)[:80]!r}")
                return index
        raise NotTags(f"the argument {_name(key)[:80]!r} is not closed")

    def _without_ends(self, error: NotTags) -> dict[str, Any]:
        """The arguments if none is closed: each ends where the next one of the schema starts."""
        keys: list[Token] = []
        for token in self._tokens:
            if not keys or (_name(token) in self._names.known):
                keys.append(token)
        named = [_name(key) for key in keys]
        if not keys or self._body[: keys[0].start].strip() or len(set(named)) < len(named):
            raise error
        ends = [*(key.start for key in keys[1:]), len(self._body)]
        for key, end in zip(keys, ends, strict=True):
            self._put(key, self._body[key.end : end])
        return self._found

    def _put(self, key: Token, text: str) -> None:
        if self._spec.wrapped:
            text = text.removeprefix("\n").removesuffix("\n")
        typed = key.match.groupdict().get("typed") if key.match is not None else None
        name = _name(key)
        schema = _resolved(as_object(self._names.known.get(name)), self._schema)
        self._found[name] = _value(text, schema, self._schema, typed)


def _name(token: Token) -> str:
    return token.match["key"].strip() if token.match is not None else ""


def _outermost(tokens: list[Token]) -> Iterator[Token]:
    """The tokens without those of a call that is opened and closed inside a value."""
    partner: dict[int, int] = {}
    opened: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind == "open":
            opened.append(index)
        elif token.kind == "close" and opened:
            partner[opened.pop()] = index
    index = 0
    while index < len(tokens):
        if index in partner:
            index = partner[index]
        else:
            yield tokens[index]
        index += 1


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    found = as_object(schema)
    for _ in range(_REFERENCES):
        reference = found.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#"):
            break
        target = as_object(resolve(root, reference))
        found = {**target, **{key: item for key, item in found.items() if key != "$ref"}}
    return found


def _value(text: str, schema: Mapping[str, Any], root: Mapping[str, Any], typed: str | None) -> Any:
    if typed is not None:
        if typed == "true":
            return text
        value = _scalar(text)
        # `_scalar` returns the text itself if it is not JSON.
        if isinstance(value, str) and value == text:
            raise NotTags(f"{text[:40]!r} is marked as JSON but is not")
        return value
    allowed = kinds_of(schema, root)
    if allowed == {"string"}:
        return text
    value = _scalar(text)
    if isinstance(value, str) or not allowed or kind_of(value) in allowed:
        return value
    if isinstance(value, int) and "number" in allowed:
        return value
    return text if "string" in allowed else value


def _scalar(text: str) -> Any:
    python = {"True": True, "False": False, "None": None}
    if text.strip() in python:
        return python[text.strip()]
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
