"""Parse a call with one tag per argument, in which values are not escaped.

A tag inside a value is text: an argument ends where the format can continue, and the next argument
is one of the client's schema.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import as_object
from plugway_toolcalls._families._base import CallFormat
from plugway_toolcalls._members import kinds_of
from plugway_toolcalls._python import python_value
from plugway_toolcalls._references import resolved
from plugway_toolcalls._tokens import CDATA, CDATA_END, Token, nested, tokens_of
from plugway_toolcalls._tools import Tool, kind_of

_OPEN_SCHEMA: Final = {"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"}


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
        if name in self.known or not self.closed:
            return True
        return _plain(name) in {_plain(key) for key in self.known}


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


class _Reader:
    def __init__(self, spec: CallFormat, body: str, schema: Mapping[str, Any]) -> None:
        self._spec, self._body, self._schema = spec, body, schema
        self._names = Names(resolved(schema, schema))
        tokens = tokens_of(spec).of(body)
        outermost = list(_outermost(tokens))
        self._tokens = [token for token in outermost if token.kind in {"key", "end"}]
        self._last = {_name(t): at for at, t in enumerate(self._tokens) if t.kind == "key"}
        """The last token that begins an argument of each name."""
        self._opens = [token.start for token in outermost if token.kind == "open"]
        """Where calls begin that are not closed."""
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
            tree = self._tree(number, self._schema_of(key)) if self._spec.nested else None
            if tree is None:
                number = self._end(number + 1, key)
                self._put(key, self._body[key.end : self._tokens[number].start])
            else:
                self._found[_name(key)], number = tree
            at, number = self._tokens[number].end, number + 1
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
            if not _ends(token, key):
                continue
            following = self._tokens[index + 1] if index + 1 < len(self._tokens) else None
            until = following.start if following is not None else len(self._body)
            if self._body[token.end : until].strip():
                if any(
                    not self._body[token.end : at].strip() for at in self._opens_in(token, until)
                ):
                    raise NotTags(f"a call may begin behind the argument {_name(key)[:80]!r}")
                continue
            if following is None:
                self._check_value(number, index, taken)
                return index
            if following.kind == "key" and _name(following) in taken - {first}:
                raise NotTags(f"the start of the argument {_name(following)[:80]!r} is ambiguous")
            if following.kind == "key" and _name(following) not in taken:
                if not self._names.allows(_name(following)):
                    raise NotTags(f"there is no argument {_name(following)[:80]!r}")
                if self._opens_in(key, token.start):
                    raise NotTags(f"the start of {_name(following)[:80]!r} may be in another call")
                self._check_value(number, index, taken)
                return index
        raise NotTags(f"the argument {_name(key)[:80]!r} is not closed")

    def _check_value(self, number: int, end: int, taken: set[str]) -> None:
        """Raises `NotTags` if the value that token `end` closes may be two arguments, the first of
        which is not closed, or may be closed twice. Tags in pairs are text."""
        inside = self._tokens[number:end]
        keys = [_name(token) for token in inside if token.kind == "key"]
        ends = len(inside) - len(keys)
        if ends > len(keys) and inside[-1].kind == "end":
            between = self._body[inside[-1].end : self._tokens[end].start]
            if not between.strip():
                raise NotTags("an argument is closed twice")
        if len(keys) > ends:
            for name in keys:
                if name in self._names.known and name not in taken and self._last[name] < end:
                    raise NotTags(f"the argument before {name[:80]!r} may not be closed")

    def _opens_in(self, token: Token, until: int) -> list[int]:
        first = bisect_left(self._opens, token.end)
        return [at for at in self._opens[first : first + 1] if at < until]

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
        if self._spec.cdata and text.startswith(CDATA) and text.endswith(CDATA_END):
            text, typed = text[len(CDATA) : -len(CDATA_END)], "true"
        self._found[_name(key)] = _value(text, self._schema_of(key), self._schema, typed)

    def _schema_of(self, key: Token) -> dict[str, Any]:
        return resolved(as_object(self._names.known.get(_name(key))), self._schema)

    def _tree(self, number: int, schema: dict[str, Any]) -> tuple[Any, int] | None:
        """The list or object that begins after the key at `number`, and the token that ends it.

        None: it is a text or a plain value.
        """
        key, at = self._tokens[number], number + 1
        if kinds_of(schema, self._schema) == {"string"}:
            return None
        members: list[tuple[str, Any]] = []
        while at < len(self._tokens) and self._is_next(at) and self._tokens[at].kind == "key":
            name = _name(self._tokens[at])
            inner = resolved(_part(schema, name), self._schema)
            value, at = self._tree(at, inner) or self._leaf(at, inner)
            members.append((name, value))
            at += 1
        if not members or at >= len(self._tokens) or not self._is_next(at):
            return None
        if not _ends(self._tokens[at], key):
            return None
        found = _gathered(members, kinds_of(schema, self._schema))
        return None if found is None else (found, at)

    def _leaf(self, number: int, schema: dict[str, Any]) -> tuple[Any, int]:
        key, end = self._tokens[number], self._tokens[number + 1 : number + 2]
        if not end or not _ends(end[0], key):
            raise NotTags(f"{_name(key)[:80]!r} is not closed")
        text = self._body[key.end : end[0].start]
        return _value(text, schema, self._schema, None), number + 1

    def _is_next(self, number: int) -> bool:
        """Whether the token follows the one before it directly."""
        before, token = self._tokens[number - 1], self._tokens[number]
        return not self._body[before.end : token.start].strip()


def _ends(token: Token, key: Token) -> bool:
    """Whether `token` ends what `key` has begun."""
    if token.kind != "end" or token.match is None:
        return False
    return token.match.groupdict().get("ended") in {None, _name(key)}


def _part(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The schema of a member, or of an item."""
    known = as_object(schema.get("properties"))
    return as_object(known[name] if name in known else schema.get("items"))


def _gathered(members: list[tuple[str, Any]], kinds: set[str]) -> Any:
    """A list of items, or an object; None: they are neither."""
    items = all(name == "item" for name, _ in members)
    if items and (not kinds or "array" in kinds):
        return [value for _, value in members]
    found = dict(members)
    if len(found) < len(members) or (kinds and "object" not in kinds):
        return None
    return found


def _name(token: Token) -> str:
    return token.match["key"].strip() if token.match is not None else ""


def _outermost(tokens: list[Token]) -> Iterator[Token]:
    """The tokens without those of a call that is opened and closed inside a value."""
    partner = nested(tokens)
    index = 0
    while index < len(tokens):
        if index in partner:
            index = partner[index]
        else:
            yield tokens[index]
        index += 1


def _value(text: str, schema: Mapping[str, Any], root: Mapping[str, Any], typed: str | None) -> Any:
    if typed is not None:
        if typed in {"true", "string"}:
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
    if isinstance(value, str) and allowed and "string" not in allowed:
        return _container(text, allowed)
    if isinstance(value, str) or not allowed or kind_of(value) in allowed:
        return value
    if isinstance(value, int) and "number" in allowed:
        return value
    return text if "string" in allowed else value


def _container(text: str, allowed: set[str]) -> Any:
    """A list or an object that is empty or written as Python does; else the text."""
    if text.strip():
        found = python_value(text)
        return text if found is None else found
    empty: dict[str, Any] = {"array": [], "object": {}}
    return next((empty[kind] for kind in empty if kind in allowed), text)


def _scalar(text: str) -> Any:
    python = {"True": True, "False": False, "None": None}
    if text.strip() in python:
        return python[text.strip()]
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
