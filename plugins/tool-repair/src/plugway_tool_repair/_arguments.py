"""Fit the arguments of a call to the client's schema if the intended value is unambiguous.

See `plugway_toolcalls` for schema validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from plugway import as_list, as_object
from plugway_toolcalls import NotJson, check_arguments, kind_of, load, resolve
from plugway_translation import last_of_joined, parse_arguments
from plugway_wire.arguments import whole_escapes

_MAX_DEPTH: Final = 50
_MAX_REFERENCES: Final = 16
_WRAPPERS: Final = frozenset(("arguments", "args", "input", "parameters", "params", "kwargs"))
_PATH_KEY = re.compile(r"(?:^|_)(?:path|file|filename|dir|directory|cwd)$|(?:P|p)ath$")
_QUOTED = re.compile(r"""(["'`])([^"'`]+)\1""")
_INTEGER = re.compile(r"[+-]?\d{1,18}(?:\.0+)?")
_NUMBER = re.compile(r"[+-]?(?:\d{1,300}\.?\d{0,300}|\.\d{1,300})(?:[eE][+-]?\d{1,2})?")


def normal(name: str) -> str:
    """The name without case and separators."""
    return re.sub(r"[\s_-]", "", name).casefold()


class Fitter:
    """Fits one set of arguments; `fixes` describes the changes."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self.fixes: list[str] = []

    def fit_text(self, text: str) -> tuple[dict[str, Any], list[str]]:
        """The fitted arguments, and the remaining problems."""
        repaired = whole_escapes(text)
        if repaired != text:
            self.fixes.append("an incomplete character in its arguments was replaced")
            text = repaired
        try:
            if once := last_of_joined(text.strip()):
                self.fixes.append("its arguments were repeated")
            value, loosely = load(once or (text if text.strip() else "{}"))
        except NotJson as error:
            return {}, [f"the arguments are not valid JSON: {error}"]
        if loosely:
            self.fixes.append("invalid JSON was repaired")
        return self.fit(value)

    def fit(self, value: Any) -> tuple[dict[str, Any], list[str]]:
        """The same as `fit_text`, for arguments that are parsed already."""
        if isinstance(value, str):
            value = self._unwrapped_text(value)
        if isinstance(value, list) and len(as_list(value)) == 1:
            self.fixes.append("its arguments were in a list")
            value = value[0]
        if value is None:
            self.fixes.append("`null` instead of arguments")
        elif not isinstance(value, dict):
            return {}, ["the arguments must be a JSON object"]
        given = as_object(value)
        problems = check_arguments(self._root, given)
        unquoted = self._unquoted(given)
        if not problems:
            return unquoted, []
        fitted = as_object(self._value(self._root, self._unwrapped(unquoted), "", 0))
        return fitted, check_arguments(self._root, fitted)

    # ── the arguments as a whole ─────────────────────────────────────────────────────────────

    def _unwrapped_text(self, text: str) -> Any:
        """The value of JSON that was encoded as a string, once or more than once."""
        found = parse_arguments(text)
        if found is None:
            return self._parsed(text, dict, "arguments")
        self.fixes.append("`arguments`: JSON sent as a string")
        return found

    def _unwrapped(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value inside `{"arguments": {…}}`, if the schema has no such argument."""
        known = as_object(self._resolved(self._root).get("properties"))
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key in _WRAPPERS and key not in known and isinstance(inner, dict | str):
                found = (
                    self._parsed(inner, dict, key) if isinstance(inner, str) else as_object(inner)
                )
                if isinstance(found, dict):
                    self.fixes.append(f"removed `{key}` around all arguments")
                    return as_object(found)
        return value

    def _unquoted(self, value: dict[str, Any]) -> dict[str, Any]:
        """The arguments with quotes around paths removed."""
        known = as_object(self._resolved(self._root).get("properties"))
        bare = dict[str, str]()
        for key, item in value.items():
            if not isinstance(item, str) or not _PATH_KEY.search(key):
                continue
            match = _QUOTED.fullmatch(item.strip())
            if match is not None:
                bare[key] = match[2]
                named = f"`{key}`" if key in known else "an argument"
                self.fixes.append(f"{named}: removed quotes around the path")
        return {**value, **bare} if bare else value

    # ── by schema ────────────────────────────────────────────────────────────────────────────

    def _value(self, schema: Any, value: Any, path: str, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            return value
        schema = self._resolved(as_object(schema))
        branches = [*as_list(schema.get("anyOf")), *as_list(schema.get("oneOf"))]
        if branches:
            schema = self._branch(schema, branches, value)
        value = self._typed(_types(schema), value, path)
        value = self._chosen(schema, value, path)
        if isinstance(value, dict):
            return self._object(schema, as_object(value), path, depth)
        if isinstance(value, list) and "items" in schema:
            items: list[Any] = [
                self._value(schema["items"], item, f"{path}[{number}]", depth + 1)
                for number, item in enumerate(as_list(value))
            ]
            return items
        return cast("Any", value)

    def _branch(self, schema: dict[str, Any], branches: list[Any], value: Any) -> dict[str, Any]:
        """The alternative that accepts a value of this type, else the first it can convert to."""
        base = {key: item for key, item in schema.items() if key not in {"anyOf", "oneOf"}}
        found = [self._resolved(as_object(branch)) for branch in branches]
        for branch in found:
            if kind_of(value) in _types(branch) or not _types(branch):
                return {**base, **branch}
        for branch in found:
            if not _same(Fitter({})._typed(_types(branch), value, ""), value):
                return {**base, **branch}
        return base

    def _object(
        self, schema: dict[str, Any], value: dict[str, Any], path: str, depth: int
    ) -> dict[str, Any]:
        properties = as_object(schema.get("properties"))
        required = as_list(schema.get("required"))
        result: dict[str, Any] = {}
        for key, item in self._renamed(value, properties, path):
            inner = as_object(properties.get(key))
            place = f"{path}.{key}" if path else key
            if item is None and key in properties and key not in required:
                kinds = self._kinds(inner)
                if kinds and "null" not in kinds:
                    self.fixes.append(f"`{place}`: removed an optional `null`")
                    continue
            result[key] = self._value(inner, item, place, depth + 1) if inner else item
        return result

    def _kinds(self, schema: dict[str, Any]) -> set[str]:
        schema = self._resolved(schema)
        found = _types(schema)
        for branch in [*as_list(schema.get("anyOf")), *as_list(schema.get("oneOf"))]:
            found |= _types(self._resolved(as_object(branch)))
        return found

    def _renamed(
        self, value: dict[str, Any], properties: dict[str, Any], path: str
    ) -> Iterator[tuple[str, Any]]:
        """The arguments under the schema's names, if they differ only in case or separators."""
        for key, item in value.items():
            if key not in properties:
                close = [name for name in properties if normal(name) == normal(key)]
                if len(close) == 1 and close[0] not in value:
                    self.fixes.append(f"`{path}.{key}`".replace("`.", "`") + f" is `{close[0]}`")
                    yield close[0], item
                    continue
            yield key, item

    def _typed(self, wanted: set[str], value: Any, path: str) -> Any:
        kind = kind_of(value)
        if not wanted or kind in wanted or (kind == "integer" and "number" in wanted):
            return value
        new: Any = _converted(wanted, value)
        if new is None and isinstance(value, str):
            for name, type_ in (("object", dict), ("array", list)):
                if new is None and name in wanted:
                    parsed: Any = self._parsed(value, type_, path, quiet=True)
                    new = None if isinstance(parsed, str) else parsed
        if new is None and "array" in wanted and value is not None:
            new = cast("list[Any]", [value])
        if new is None:
            return value
        self.fixes.append(f"`{path}`: {kind} converted to {kind_of(new)}")
        return new

    def _chosen(self, schema: dict[str, Any], value: Any, path: str) -> Any:
        options = as_list(schema.get("enum"))
        if not isinstance(value, str) or not options or value in options:
            return value
        close = [o for o in options if isinstance(o, str) and normal(o) == normal(value)]
        if len(close) != 1:
            return value
        self.fixes.append(f"`{path}`: matched to one of its choices")
        return close[0]

    def _parsed(self, text: str, type_: type, path: str, *, quiet: bool = False) -> Any:
        """The value of JSON that was encoded as a string."""
        try:
            value, _ = load(text)
        except NotJson:
            return text
        if isinstance(value, type_) and not quiet:
            self.fixes.append(f"`{path}`: JSON sent as a string")
        return text if not isinstance(value, type_) else value

    def _resolved(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """`schema` with its own `$ref` resolved; circles end after some steps."""
        result = as_object(schema)
        for _ in range(_MAX_REFERENCES):
            reference = result.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                return result
            found = self._root if reference == "#" else resolve(self._root, reference)
            rest = {key: item for key, item in result.items() if key != "$ref"}
            result = {**as_object(found), **rest}
        return {}


def dumps(value: Any) -> str:
    """JSON text."""
    return json.dumps(value, ensure_ascii=False)


def _types(schema: Mapping[str, Any]) -> set[str]:
    kinds = schema.get("type")
    if isinstance(kinds, str):
        return {kinds}
    if isinstance(kinds, list):
        return {str(kind) for kind in as_list(kinds)}
    return {"object"} if "properties" in schema else set()


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _converted(wanted: set[str], value: Any) -> Any:
    """A scalar converted to one of the wanted types; None if that is ambiguous."""
    if isinstance(value, str):
        return _from_string(wanted, value.strip())
    if isinstance(value, list) and len(as_list(value)) == 1 and not wanted & {"array", "object"}:
        (only,) = as_list(value)
        return only if kind_of(only) in wanted else _converted(wanted, only)
    if isinstance(value, bool):
        return str(value).lower() if wanted == {"string"} else None
    if isinstance(value, float) and "integer" in wanted and value.is_integer():
        return int(value)
    if isinstance(value, int | float) and "string" in wanted:
        return json.dumps(value)
    return None


def _from_string(wanted: set[str], text: str) -> Any:
    if "boolean" in wanted and text.lower() in {"true", "false"}:
        return text.lower() == "true"
    if "integer" in wanted and _INTEGER.fullmatch(text):
        return int(text.partition(".")[0])
    if "number" in wanted and _NUMBER.fullmatch(text):
        return int(text) if _INTEGER.fullmatch(text) and "." not in text else float(text)
    return None
