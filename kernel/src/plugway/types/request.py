"""The request of an exchange: the client's bytes, parsed lazily and edited without other changes.

`exchange/intake` reads the bytes, within limits on their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec

from plugway_wire import json as _json
from plugway_wire.errors import Headers
from plugway_wire.source import Source


class Removed(Enum):
    """The type of `REMOVE`."""

    REMOVE = "remove"


REMOVE: Final = Removed.REMOVE
"""Pass it as a value to `MessagesRequest.replace` to remove the field or header."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one field or header of a request, and the reason."""

    field: str
    """A top-level body field, or `header:NAME`."""
    action: str
    """`set`, `add` or `remove`."""
    because: str

    @property
    def summary(self) -> str:
        """The line of the receipt."""
        return f"{self.action} {self.field}: {self.because}"


class Original:
    """A request of another API as the client sent it, before its translation."""

    __slots__ = (
        *("_decode", "_inner", "_made_up", "_notes", "_source"),
        *("caller", "dialect", "headers", "path", "query", "verdicts"),
    )

    def __init__(
        self,
        dialect: str,
        path: str,
        body: bytes = b"",
        headers: Headers = (),
        caller: str = "",
        query: str = "",
    ) -> None:
        self.dialect = dialect
        """The dialect's name, such as `acme-chat`."""
        self.path = path
        self.headers = headers
        """The client's headers, without credentials."""
        self.caller = caller
        """`Caller.name`: a dialect must not share stored data between callers."""
        self.query = query
        """The query string, such as `alt=sse`, without credentials."""
        self.verdicts: dict[str, bool] = {}
        """Cache for checks that a backend repeats within an attempt."""
        self._source = Source(body)
        self._notes: list[str] = []
        self._made_up: set[str] = set()
        self._decode: Callable[[], bytes] | None = None
        self._inner: bytes | None = None

    @property
    def body(self) -> bytes:
        """The client's bytes; empty if the request was rejected before they were decoded."""
        return self._source.raw

    @property
    def parsed(self) -> Mapping[str, Any]:
        """The parsed body. Treat it as read-only.

        Raises `InvalidRequest`: the body is not one JSON object.
        """
        return self._source.parsed

    def get(self, name: str, default: Any = None) -> Any:
        """A top-level field; the others are not parsed. Raises `InvalidRequest`."""
        value = self._source.get(name)
        return default if value is ... else value

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The client's bytes of a field; None if the body is small."""
        return self._source.unparsed(name)

    @property
    def notes(self) -> list[str]:
        """Losses of the translation, which the dialect adds while it decodes. The pipeline puts
        them on the receipt unless the backend relays the original."""
        self._decoded()
        return self._notes

    @property
    def made_up(self) -> set[str]:
        """Fields that the dialect added because the Messages API requires them. Changes to them do
        not appear on the receipt if the backend relays the original."""
        self._decoded()
        return self._made_up

    @property
    def heavy(self) -> bool:
        """Whether it is so large that work on it must be done in a thread."""
        return self._source.heavy

    def fill(self, body: Mapping[str, Any]) -> None:
        """Replace the client's body. For dialects while they decode, to insert stored content that
        the client only references."""
        self._source = Source.written(body)

    def written(self, body: bytes) -> Original:
        """A copy with another body."""
        new = Original(self.dialect, self.path, body, self.headers, self.caller, self.query)
        new._notes, new._made_up = self.notes, self.made_up
        return new

    def own_request(self) -> MessagesRequest:
        """The original body as a request that can be edited and sent."""
        return MessagesRequest(self._source)

    def deferred(self, known: Mapping[str, Any], decode: Callable[[], bytes]) -> MessagesRequest:
        """The Messages request, decoded when more than the `known` fields or the notes are needed.
        For the kernel."""
        self._decode = decode
        return MessagesRequest(Source(self._decoded, known), self.headers, original=self)

    def _decoded(self) -> bytes:
        if self._decode is not None:
            decode, self._decode = self._decode, None  # `decode` itself uses `notes`
            self._inner = decode()
        return self._inner or b""


class MessagesRequest:
    """An immutable Messages API request.

    `raw` is the body as it would be sent now: the client's bytes, in which only changed top-level
    members are replaced.
    """

    __slots__ = (
        "_body",
        "_edits",
        "_named",
        "_raw",
        "_source",
        "changes",
        "headers",
        "heavy",
        "original",
        "query",
    )

    def __init__(
        self,
        raw: bytes | Source,
        headers: Headers = (),
        *,
        query: str = "",
        original: Original | None = None,
    ) -> None:
        self._source = raw if isinstance(raw, Source) else Source(raw)
        self.heavy = self._source.heavy
        """Whether the client's body is so large that work on it would block the event loop; use
        `aside` for it."""
        self._raw: bytes | None = None
        self._body: dict[str, Any] | None = None
        self._edits: dict[str, Any] = {}
        self._named: dict[str, str] | None = None
        self.headers = headers
        """The client's headers, without credentials."""
        self.query = query
        """The query string as the client sent it, such as `beta=true`."""
        self.original = original
        """The original request if the client uses another API; only its dialect may `fill` it."""
        self.changes: tuple[Change, ...] = ()
        """All changes so far, in order."""

    @property
    def body(self) -> Mapping[str, Any]:
        """The parsed body. Treat it as read-only, including nested values, because requests share
        equal tools; edit with `replace`.

        `get` and `fields` avoid parsing the whole body.

        Raises `InvalidRequest`: the body is not one JSON object.
        """
        if self._body is None:
            self._body = self._edited(self._source.parsed) if self._edits else self._source.parsed
        return self._body

    @property
    def fields(self) -> Set[str]:
        """The names of the top-level fields.

        Raises `InvalidRequest`: the body is not one JSON object.
        """
        members = self._source.members
        return (self._edited(members) if self._edits else members).keys()

    def get(self, name: str, default: Any = None) -> Any:
        """A top-level field; the others are not parsed. Treat it as read-only.

        Raises `InvalidRequest`: the body is not one JSON object.
        """
        if name in self._edits:
            value = self._edits[name]
            return default if value is REMOVE else value
        value = self._source.values.get(name, ...)
        if value is ...:
            value = self._source.get(name)
        return default if value is ... else value

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The client's bytes of a field; None if the body is small or the field changed."""
        return None if name in self._edits else self._source.unparsed(name)

    @property
    def raw(self) -> bytes:
        """The body as bytes."""
        if self._raw is None:
            self._raw = self._write() if self._edits else self._source.raw
        return self._raw

    @property
    def deferred(self) -> bool:
        """Whether a request of another API has not been translated yet."""
        return self._source.pending

    @property
    def changed(self) -> bool:
        """Whether the body differs from what the client sent."""
        return bool(self._edits)

    @property
    def model(self) -> str:
        """The current model id; empty if the body has none."""
        value = self.get("model")
        return value if isinstance(value, str) else ""

    @property
    def stream(self) -> bool:
        """Whether the client requested a stream."""
        return self.get("stream") is True

    @property
    def offers_tools(self) -> bool:
        """Whether it has tools that the client runs. Requests that a client makes outside of the
        conversation have none, or only server tools, which have no schema."""
        raw = self.unparsed("tools")
        if raw is not None:
            return b'"input_schema"' in bytes(raw)
        tools = _json.as_list(self.get("tools"))
        return any("input_schema" in _json.as_object(tool) for tool in tools)

    def header(self, name: str) -> str | None:
        """The last header with that name (in lower case), or None."""
        return self.named.get(name)

    @property
    def named(self) -> Mapping[str, str]:
        """The headers by name (in lower case); the last of each name."""
        if self._named is None:
            self._named = dict(self.headers)
        return self._named

    def replace(
        self,
        *,
        because: str,
        headers: Mapping[str, str | Removed] | None = None,
        **fields: Any,
    ) -> MessagesRequest:
        """A copy with top-level body fields and headers set, or removed with `REMOVE`.

        `because` is the reason on the receipt, one clause that a user can understand.
        """
        return self._edited_by(fields, headers or {}, because)

    def without(self, names: Iterable[str], *, because: str) -> MessagesRequest:
        """A copy without these top-level body fields. Unlike `replace` it accepts any names, such
        as `because` and `headers`."""
        return self._edited_by(dict.fromkeys(names, REMOVE), {}, because)

    def _edited_by(
        self, fields: Mapping[str, Any], headers: Mapping[str, str | Removed], because: str
    ) -> MessagesRequest:
        new = MessagesRequest.__new__(MessagesRequest)
        new._source, new.heavy = self._source, self.heavy
        new.query, new.original = self.query, self.original
        changes: list[Change] = []
        new._edits = self._edits | self._wanted(fields, changes, because)
        same = new._edits == self._edits
        new._body, new._raw = (self._body, self._raw) if same else (None, None)
        new.headers = _edited_headers(self.headers, headers, changes, because)
        new._named = None
        new.changes = (*self.changes, *changes)
        return new

    def resent(self, headers: Headers, query: str, original: Original | None) -> MessagesRequest:
        """A copy with other headers and the same body, serialized again. For the kernel, which
        records it on the receipt itself."""
        new = self.replace(because="")
        new._source, new._raw = Source.written(self._source.parsed), None
        new.headers, new.query, new.original = headers, query, original
        return new

    def _wanted(
        self, fields: Mapping[str, Any], changes: list[Change], because: str
    ) -> dict[str, Any]:
        wanted: dict[str, Any] = {}
        for name, value in fields.items():
            known = self.get(name, ...) is not ...
            if value is REMOVE and not known:
                continue
            action = "remove" if value is REMOVE else "set" if known else "add"
            changes.append(Change(name, action, because))
            wanted[name] = value
        return wanted

    def _edited(self, members: Mapping[str, Any]) -> dict[str, Any]:
        return {n: v for n, v in {**members, **self._edits}.items() if v is not REMOVE}

    def _write(self) -> bytes:
        removed = frozenset(name for name, value in self._edits.items() if value is REMOVE)
        changed = {name: v for name, v in self._edits.items() if v is not REMOVE}
        return self._source.edited(changed, removed)


def _edited_headers(
    headers: Headers, edits: Mapping[str, str | Removed], changes: list[Change], because: str
) -> Headers:
    for name, value in edits.items():
        kept = tuple(line for line in headers if line[0] != name.lower())
        if isinstance(value, str):
            action = "set" if len(kept) < len(headers) else "add"
            headers = (*kept, (name.lower(), value))
        elif len(kept) == len(headers):
            continue
        else:
            action, headers = "remove", kept
        changes.append(Change(f"header:{name.lower()}", action, because))
    return headers
