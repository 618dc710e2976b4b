"""A tool that a model may call, for the parsers, the writer and the grammars of calls."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

_HEADER_REST = re.compile(r"\s*<\|.*", re.DOTALL)
_NAMESPACE = re.compile(r"^(?:functions?|tools?|default_api)[.:/]")
_INDEX = re.compile(r":\d{1,4}$")
_NUMBERED = re.compile(r"functions?[._](?P<name>.{1,200})[:_-]\d{1,4}")
"""`functions.NAME:INDEX` without the signs that some servers forbid in an id."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that the model may call."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The client's `input_schema`, unchanged."""

    def for_template(self) -> dict[str, Any]:
        """The form for chat templates, which is that of the OpenAI API."""
        function: dict[str, Any] = {"name": self.name, "description": self.description}
        function["parameters"] = self.schema or {"type": "object", "properties": {}}
        return {"type": "function", "function": function}


def plain_name(name: str) -> str:
    """`name` without what models add to it: a namespace, an index, the rest of a header."""
    name = _HEADER_REST.sub("", name.strip())
    return _INDEX.sub("", _NAMESPACE.sub("", name))


def known_name(name: str, tools: Container[str]) -> str | None:
    """The tool that `name` means, with what models add to it; None if there is no such tool."""
    numbered = _NUMBERED.fullmatch(name.strip())
    forms = (name, plain_name(name), numbered["name"] if numbered is not None else "")
    return next((form for form in forms if form and form in tools), None)


def kind_of(value: Any) -> str:
    """JSON Schema's name for the type of `value`."""
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", list: "array", dict: "object", str: "string"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "null")


def dumps(value: Any) -> str:
    """JSON text; half of a surrogate pair becomes U+FFFD, because it cannot be sent.

    Raises:
        ValueError: a number is not finite.
        TypeError: JSON has no such type.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def json_type(kind: str) -> str:
    """The type of JSON itself, which has one for all numbers."""
    return "number" if kind == "integer" else kind
