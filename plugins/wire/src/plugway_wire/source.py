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


_MOST_MEMBERS: Final = 64
"""With more members, parsing everything at once is faster than one by one."""
_LISTS: Final = 8
_LONGEST: Final = 256 * 1024


class _Repeated:
    """The last lists of tools: a client sends the same one with every request of a conversation,
    and it is most of the request. Each is parsed once, and its entries are shared."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[bytes, list[Any]], ...] = ()  # replaced: threads may read it

    def parsed(self, data: bytes) -> Any:
        """The value of `tools`. Raises `ValueError`."""
        for its, entries in self._kept:
            if its == data:  # quicker than a hash of it
                return entries.copy()
        value: Any = _json.parse_member(data)
        if value.__class__ is list and len(data) <= _LONGEST:
            self._kept = ((data, value.copy()), *self._kept[: _LISTS - 1])
        return value


_TOOLS: Final = _Repeated()


class Source:
    """The client's bytes, shared by all copies of a request and parsed at most once."""

    __slots__ = ("_members", "_raw", "_split", "_write", "heavy", "values")

    def __init__(
        self, raw: bytes | Callable[[], bytes], known: Mapping[str, Any] | None = None
    ) -> None:
        """`raw` may be a function that makes the bytes on demand, with some fields `known`."""
        self._write, self._raw = (raw, b"") if callable(raw) else (None, raw)
        self._members: Mapping[str, Any] | None = None
        self._split: Mapping[str, msgspec.Raw] | None = None
        """The members as bytes, if they have been found."""
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
            self.values = self._parsed()
            self._members = self.values
        return self.values

    def _parsed(self) -> dict[str, Any]:
        split = self._split
        if split is not None and len(split) <= _MOST_MEMBERS:
            try:
                return {name: self._value(name, raw) for name, raw in split.items()}
            except ValueError:
                pass  # raised below with the position
        return _parsed_object(self.raw, checked=split is not None)

    def _value(self, name: str, raw: msgspec.Raw) -> Any:
        """A member, parsed alone. Raises `ValueError`."""
        value = self.values.get(name, ...)
        if value is ...:
            data = bytes(raw)
            value = _TOOLS.parsed(data) if name == "tools" else _json.parse_member(data)
        return value

    @property
    def members(self) -> Mapping[str, Any]:
        """The top-level members, parsed or not. Raises `InvalidRequest`."""
        if self._members is None:
            if len(self.raw) < _SMALL:
                return self.parsed
            found = _members_once(self.raw)
            if found is None or not _are_readable(found.values()):
                return self.parsed  # raises with the position
            self._members = self._split = found
        return self._members

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The bytes of a member; None if the body is small, or was parsed as a whole before any
        member was asked for."""
        found = self._split if self.members else None
        return None if found is None else found.get(name)

    def get(self, name: str) -> Any:
        """One member, parsed alone; `...` if it is missing."""
        value = self.values.get(name, ...)
        if value is ...:
            value = self.members.get(name, ...)
        if isinstance(value, msgspec.Raw):
            try:
                value = self.values[name] = self._value(name, value)
            except ValueError:
                return self.parsed[name]  # raises with the position in the body
        return value

    def edited(self, changes: Mapping[str, Any], removed: frozenset[str]) -> bytes:
        """The bytes with some members replaced, added or removed. Raises `InvalidRequest`."""
        if len(changes) == 1 and not removed and isinstance(model := changes.get("model"), str):
            quick = _json.replace_leading_model(self.raw, str(self.get("model")), model)
            if quick is not None:
                return quick
        if self._split is not None:
            return _json.joined(self._split, changes, removed)
        if orjson.dumps(self.parsed) == self.raw:
            # Most clients format JSON as orjson does. Then writing the whole body loses nothing,
            # at a twentieth of the cost of finding the members.
            body = {**self.parsed, **changes}
            return orjson.dumps({name: body[name] for name in body if name not in removed})
        try:
            return _json.edit(self.raw, changes, removed)
        except _json.JsonError as error:
            raise InvalidRequest(str(error), retry=False) from None
