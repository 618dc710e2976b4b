"""What a rule is: a function from a request to the errors a vendor would report. Also helpers.

A rule's docstring names its source. The messages are the vendor's, as documented or as quoted in
public reports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from plugway import as_list, as_object

Object: TypeAlias = dict[str, Any]

_INDEX: Final = re.compile(r"\.(\d+)(?=\.|$)")


@dataclass(frozen=True)
class Request:
    """A request: header names in lower case, the path with its query, the parsed body."""

    headers: Mapping[str, str]
    path: str
    body: Object

    @property
    def model(self) -> str:
        """The model named in the body."""
        return str(self.body.get("model", ""))


@dataclass(frozen=True)
class Refusal:
    """An error of the vendor, with its message."""

    message: str
    status: int = 400
    kind: str = ""
    """`error.type` of Anthropic and OpenAI, `error.status` of Gemini; empty for the default."""
    param: str | None = None
    code: str | None = None

    def __str__(self) -> str:
        return self.message


Rule: TypeAlias = Callable[[Request], Iterable[Refusal]]


def words(text: str) -> frozenset[str]:
    """Split names at whitespace, for tables."""
    return frozenset(text.split())


def refused(
    rules: Iterable[Rule], request: Request, without: Collection[str] = ()
) -> list[Refusal]:
    """Apply the rules except those in `without`; each error is returned once."""
    found = [say for rule in rules if rule.__name__ not in without for say in rule(request)]
    return list(dict.fromkeys(found))


def objects(value: Any) -> Iterator[tuple[int, Object]]:
    """The objects of a list, with their indexes."""
    for index, item in enumerate(as_list(value)):
        if isinstance(item, dict):
            yield index, as_object(item)


def marked(value: Any, name: str, place: str = "") -> Iterator[tuple[str, Object]]:
    """Every object below `value` that has a field `name`, with its path (`a.0.b`)."""
    if isinstance(value, list):
        for index, item in enumerate(as_list(value)):
            yield from marked(item, name, f"{place}.{index}" if place else str(index))
    elif isinstance(value, dict):
        members = as_object(value)
        if name in members:
            yield place, members
        for key, item in members.items():
            yield from marked(item, name, f"{place}.{key}" if place else key)


def bracketed(place: str) -> str:
    """`messages.0.content.1` as `messages[0].content[1]`."""
    return _INDEX.sub(r"[\1]", place)


def schemas(schema: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Object]]:
    """A JSON schema and all its subschemas, with their paths (`("properties", "a")`)."""
    if not isinstance(schema, dict):
        return
    members = as_object(schema)
    yield place, members
    for group in ("properties", "$defs", "definitions", "patternProperties"):
        for name, inner in as_object(members.get(group)).items():
            yield from schemas(inner, (*place, group, name))
    for name in ("items", "additionalProperties", "not", "if", "then", "else", "propertyNames"):
        yield from schemas(members.get(name), (*place, name))
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, inner in enumerate(as_list(members.get(name))):
            yield from schemas(inner, (*place, name, str(index)))
