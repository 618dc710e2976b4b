"""The request of an exchange: the client's own bytes, parsed where asked, edited without a loss.

Reading the body from the socket and limits on its size belong to the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import msgspec
import orjson

from plugway.types import json as _json
from plugway.types.change import REMOVE as REMOVE
from plugway.types.change import Change as Change
from plugway.types.change import Removed
from plugway.types.errors import Headers, InvalidRequest
from plugway.types.source import Source


class Original:
    """What a client of another API sent, before it was put into the Messages API's language."""

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
        """The client's header lines, without those that carry credentials."""
        self.caller = caller
        """Who asks, as `Caller.name`: what a dialect keeps for one is not another's."""
        self.query = query
        """The query string, such as `alt=sse`, without what carries credentials."""
        self.verdicts: dict[str, bool] = {}
        """What a backend found out about it, which is asked several times in an attempt."""
        self._source = Source(body)
        self._notes: list[str] = []
        self._made_up: set[str] = set()
        self._decode: Callable[[], bytes] | None = None
        self._inner: bytes | None = None

    @property
    def body(self) -> bytes:
        """The client's bytes; empty where the request was refused before they were decoded."""
        return self._source.raw

    @property
    def parsed(self) -> Mapping[str, Any]:
        """The body as an object. Treat it as read-only.

        Raises:
            InvalidRequest: it is not one JSON object.
        """
        return self._source.parsed

    def get(self, name: str, default: Any = None) -> Any:
        """A top-level field, without parsing the others. Raises `InvalidRequest`."""
        value = self._source.get(name)
        return default if value is ... else value

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The client's bytes of a field, where nobody has parsed the body; None in a small one."""
        return self._source.unparsed(name)

    @property
    def notes(self) -> list[str]:
        """What the dialect could not put into the Messages API as it was: it adds while it decodes,
        and the pipeline puts them on the receipt of what is not sent on as it came."""
        self._decoded()
        return self._notes

    @property
    def made_up(self) -> set[str]:
        """Fields that the Messages API wants and the client did not give: the dialect adds them,
        and a change to one is none for a server that gets the client's own bytes."""
        self._decoded()
        return self._made_up

    @property
    def heavy(self) -> bool:
        """Whether it is so large that work on it is done in a thread."""
        return self._source.heavy

    def fill(self, body: Mapping[str, Any]) -> None:
        """Put `body` in the place of the client's: for a dialect, while it decodes, that has kept
        what the client only refers to. Whatever reads the request later reads all of it."""
        self._source = Source(orjson.dumps(body))
        self._source.whole = dict(body)

    def written(self, body: bytes) -> Original:
        """The same with another body."""
        new = Original(self.dialect, self.path, body, self.headers, self.caller, self.query)
        new._notes, new._made_up = self.notes, self.made_up
        return new

    def own_request(self) -> MessagesRequest:
        """The client's own body as a request, to be edited and sent on."""
        return MessagesRequest(self._source)

    def deferred(self, known: Mapping[str, Any], decode: Callable[[], bytes]) -> MessagesRequest:
        """The Messages request, decoded when more than the `known` fields is asked for, or what
        was noted: for the kernel."""
        self._decode = decode
        return MessagesRequest(Source(self._decoded, known), self.headers, original=self)

    def _decoded(self) -> bytes:
        if self._decode is not None:
            decode, self._decode = self._decode, None  # it notes what it finds
            self._inner = decode()
        return self._inner or b""


class MessagesRequest:
    """An immutable Messages API request.

    `raw` is the body as it would be sent now: the client's bytes while nothing is changed, and
    otherwise the client's bytes with only the changed top-level members written anew.
    """

    __slots__ = (
        "_body",
        "_edits",
        "_named",
        "_raw",
        "_source",
        "changes",
        "headers",
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
        self._raw: bytes | None = None
        self._body: dict[str, Any] | None = None
        self._edits: dict[str, Any] = {}
        self._named: dict[str, str] | None = None
        self.headers = headers
        """The client's header lines, without those that carry credentials."""
        self.query = query
        """The query string as the client sent it, such as `beta=true`."""
        self.original = original
        """What the client sent, where it speaks another API; only its dialect may `fill` it."""
        self.changes: tuple[Change, ...] = ()
        """All changes so far, in order."""

    @property
    def body(self) -> Mapping[str, Any]:
        """The parsed body. Treat it as read-only, nested values included: edit with `replace`.

        Where a few fields are enough, `get` and `fields` spare parsing all of it.

        Raises:
            InvalidRequest: the body is not one JSON object.
        """
        if self._body is None:
            self._body = self._edited(self._source.parsed) if self._edits else self._source.parsed
        return self._body

    @property
    def fields(self) -> Set[str]:
        """The names of the top-level fields.

        Raises:
            InvalidRequest: the body is not one JSON object.
        """
        members = self._source.members
        return (self._edited(members) if self._edits else members).keys()

    def get(self, name: str, default: Any = None) -> Any:
        """A top-level field, without parsing the others. Treat it as read-only.

        Raises:
            InvalidRequest: the body is not one JSON object.
        """
        if name in self._edits:
            value = self._edits[name]
            return default if value is REMOVE else value
        whole = self._source.whole
        if whole is not None:
            return whole.get(name, default)
        value = self._source.get(name)
        return default if value is ... else value

    def unparsed(self, name: str) -> msgspec.Raw | None:
        """The client's bytes of a field, where nobody has parsed the body or changed the field."""
        return None if name in self._edits else self._source.unparsed(name)

    @property
    def raw(self) -> bytes:
        """The body as bytes."""
        if self._raw is None:
            self._raw = self._write() if self._edits else self._source.raw
        return self._raw

    @property
    def deferred(self) -> bool:
        """Nobody has asked yet for more than the model of what a client of another API sent."""
        return self._source.pending

    @property
    def changed(self) -> bool:
        """Whether the body differs from what the client sent."""
        return bool(self._edits)

    @property
    def model(self) -> str:
        """The model id as it stands now; empty where the body has none."""
        value = self.get("model")
        return value if isinstance(value, str) else ""

    @property
    def stream(self) -> bool:
        """Whether the client asked for a stream."""
        return self.get("stream") is True

    @property
    def heavy(self) -> bool:
        """Whether the client's body is so large that work on it would hold everybody else up:
        `aside` does it in a thread."""
        return self._source.heavy

    @property
    def offers_tools(self) -> bool:
        """Whether it offers tools that the client runs, as turns of a conversation do; what
        a client asks beside it has none, or only such as a server runs, which have no schema."""
        raw = self.unparsed("tools")
        if raw is not None:
            return b'"input_schema"' in bytes(raw)
        tools = _json.as_list(self.get("tools"))
        return any("input_schema" in _json.as_object(tool) for tool in tools)

    def header(self, name: str) -> str | None:
        """The last header line of that name (lower case), or None."""
        return self.named.get(name)

    @property
    def named(self) -> Mapping[str, str]:
        """The header lines by their names (lower case), the last of each."""
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
        """A copy with top-level body fields and headers set, or taken away with `REMOVE`.

        `because` is one clause for the receipt: what a user reads to understand the change.
        """
        return self._edited_by(fields, headers or {}, because)

    def without(self, names: Iterable[str], *, because: str) -> MessagesRequest:
        """A copy without these top-level body fields, whatever a client called them: `replace`
        cannot name `because`, `headers` and `self`."""
        return self._edited_by(dict.fromkeys(names, REMOVE), {}, because)

    def _edited_by(
        self, fields: Mapping[str, Any], headers: Mapping[str, str | Removed], because: str
    ) -> MessagesRequest:
        new = MessagesRequest.__new__(MessagesRequest)
        new._source, new.query, new.original = self._source, self.query, self.original
        changes: list[Change] = []
        new._edits = self._edits | self._wanted(fields, changes, because)
        same = new._edits == self._edits
        new._body, new._raw = (self._body, self._raw) if same else (None, None)
        new.headers = _edited_headers(self.headers, headers, changes, because)
        new._named = None
        new.changes = (*self.changes, *changes)
        return new

    def resent(self, headers: Headers, query: str, original: Original | None) -> MessagesRequest:
        """A copy with other lines around the same body, written anew from what was parsed: for the
        kernel, which tells of it."""
        new = self.replace(because="")
        parsed, new._raw = self._source.parsed, None
        new._source = Source(orjson.dumps(parsed))
        new._source.whole = parsed
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
        origin = self._source.raw
        if len(self._edits) == 1 and isinstance(new := self._edits.get("model"), str):
            was = str(self._source.get("model"))
            quick = _json.replace_leading_model(origin, was, new)
            if quick is not None:
                return quick
        if orjson.dumps(self._source.parsed) == origin:
            # Written by most clients as orjson would: then writing it whole loses nothing, and
            # costs a twentieth of finding the members.
            return orjson.dumps(self.body)
        removed = frozenset(name for name, value in self._edits.items() if value is REMOVE)
        changed = {name: v for name, v in self._edits.items() if v is not REMOVE}
        try:
            return _json.edit(origin, changed, removed)
        except _json.JsonError as error:
            raise InvalidRequest(str(error), retry=False) from None


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
