"""The bytes of a request body, parsed lazily and only as far as necessary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import orjson

from plugway_wire import json as _json
from plugway_wire.bounds import is_heavy
from plugway_wire.errors import InvalidRequest


def _parsed_object(raw: bytes, *, checked: bool = False) -> dict[str, Any]:
    try:
        parsed = _json.parse(raw)
    except _json.JsonError as error:
        raise InvalidRequest(str(error), retry=False, record=True) from None
    if not isinstance(parsed, dict):
        kind = "null" if parsed is None else type(parsed).__name__
        message = f"the body must be a JSON object, not {kind}"
        raise InvalidRequest(message, retry=False, record=True)
    # Most clients format JSON as orjson does. Then nothing was lost, so no name occurs twice.
    if not checked and orjson.dumps(parsed) != raw:
        _members_once(raw)
    return _json.as_object(parsed)


def _members_once(raw: bytes) -> Mapping[str, msgspec.Raw] | None:
    """The top-level members of a body. Raises `InvalidRequest` for a duplicate."""
    found = _json.members(raw)
    try:
        _json.check_once(raw, found)
    except _json.JsonError as error:
        record = "duplicate field in the body"  # without its name, which may be any text
        raise InvalidRequest(str(error), retry=False, record=record) from None
    return found


_SMALL: Final = 4096
"""Size in bytes below which parsing everything is faster than splitting into members."""


def _are_readable(members: Iterable[msgspec.Raw]) -> bool:
    """Whether orjson can parse the small members: some parsers read its huge numbers as infinite.
    A large member is not parsed here, so it is left to the upstream."""
    views = map(memoryview, members)
    try:
        for value in [v for v in views if len(v) < _SMALL and v[0] not in b'"tfn']:
            orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    return True


class Source:
    """The client's bytes, shared by all copies of a request and parsed at most once."""

    __slots__ = ("_members", "_raw", "_write", "heavy", "values")

    def __init__(
        self, raw: bytes | Callable[[], bytes], known: Mapping[str, Any] | None = None
    ) -> None:
        """`raw` may be a function that makes the bytes on demand, with some fields `known`."""
        self._write, self._raw = (raw, b"") if callable(raw) else (None, raw)
        self._members: Mapping[str, Any] | None = None
        self.values: dict[str, Any] = dict(known or {})
        """The members that are parsed already; it is also `_members` once all of them are."""
        self.heavy = known is None and is_heavy(self.raw)
        """Whether work on the body must be split into steps."""

    @classmethod
    def written(cls, body: Mapping[str, Any]) -> Source:
        """The source whose bytes are `body`, serialized."""
        new = cls(orjson.dumps(body))
        new._members = new.values = dict(body)
        return new

    @property
    def pending(self) -> bool:
        """Whether the bytes have not been made yet."""
        return self._write is not None

    @property
    def raw(self) -> bytes:
        """The bytes."""
        if self._write is not None:
            self._raw, self._write = self._write(), None
        return self._raw

    @property
    def parsed(self) -> dict[str, Any]:
        """The whole body. Raises `InvalidRequest`."""
        if self._members is not self.values:
            self.values = _parsed_object(self.raw, checked=self._members is not None)
            self._members = self.values
        return self.values

    @property
    def members(self) -> Mapping[str, Any]:
        """The top-level members, parsed or not. Raises `InvalidRequest`."""
        if self._members is None:
            if len(self.raw) < _SMALL:
                return self.parsed
            found = _members_once(self.raw)
            if found is None or not _are_readable(found.values()):
                return self.parsed  # raises with the position
            self._members = found
        return self._members

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The bytes of a member, or None if the body was parsed."""
        value = self.members.get(name)
        return value if isinstance(value, msgspec.Raw) else None

    def get(self, name: str) -> Any:
        """One member, parsed alone; `...` if it is missing."""
        value = self.values.get(name, ...)
        if value is ...:
            value = self.members.get(name, ...)
        if isinstance(value, msgspec.Raw):
            data = bytes(value)
            try:
                found = _json.parse(data) if data[:1] in (b"[", b"{") else orjson.loads(data)
            except ValueError:
                return self.parsed[name]  # raises with the position in the body
            value = self.values[name] = found
        return value
