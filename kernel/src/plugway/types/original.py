"""What a client of another API sent, and the bytes of a body as an object.

Putting it into the Messages API's language belongs to dialects; editing that, to `types/request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from plugway.types import json as _json
from plugway.types.errors import Headers, InvalidRequest


class Original:
    """What a client of another API sent, before it was put into the Messages API's language."""

    __slots__ = (
        "_parsed",
        "body",
        "caller",
        "dialect",
        "headers",
        "made_up",
        "notes",
        "path",
        "query",
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
        self.body = body
        """The client's bytes; empty where the request was refused before they were decoded."""
        self.headers = headers
        """The client's header lines, without those that carry credentials."""
        self.caller = caller
        """Who asks, as `Caller.name`: what a dialect keeps for one is not another's."""
        self.query = query
        """The query string, such as `alt=sse`, without what carries credentials."""
        self.notes: list[str] = []
        """What the dialect could not put into the Messages API as it was: it adds while it decodes,
        and the pipeline puts them on the receipt of what is not sent on as it came."""
        self.made_up: set[str] = set()
        """Fields that the Messages API wants and the client did not give: the dialect adds them,
        and a change to one is none for a server that gets the client's own bytes."""
        self._parsed: dict[str, Any] | None = None

    @property
    def parsed(self) -> Mapping[str, Any]:
        """The body as an object. Treat it as read-only.

        Raises:
            InvalidRequest: it is not one JSON object.
        """
        if self._parsed is None:
            self._parsed = parsed_object(self.body)
        return self._parsed

    def fill(self, body: Mapping[str, Any]) -> None:
        """Put `body` in the place of the client's: for a dialect, while it decodes, that has kept
        what the client only refers to. Whatever reads the request later reads all of it."""
        self.body, self._parsed = orjson.dumps(body), dict(body)

    def written(self, body: bytes) -> Original:
        """The same with another body."""
        new = Original(self.dialect, self.path, body, self.headers, self.caller, self.query)
        new.notes, new.made_up = self.notes, self.made_up
        return new


Members = Mapping[str, msgspec.Raw]
"""The top-level members of a body, not parsed."""


def parsed_object(raw: bytes, *, checked: bool = False) -> dict[str, Any]:
    """A body as an object; `checked`: no member stands twice. Raises `InvalidRequest`."""
    try:
        parsed = _json.parse(raw)
    except _json.JsonError as error:
        raise InvalidRequest(str(error), retry=False, record=True) from None
    if not isinstance(parsed, dict):
        kind = "null" if parsed is None else type(parsed).__name__
        message = f"the body must be a JSON object, not {kind}"
        raise InvalidRequest(message, retry=False, record=True)
    if not checked:
        members_once(raw)
    return _json.as_object(parsed)


def members_once(raw: bytes) -> Members | None:
    """Its top-level members. Raises `InvalidRequest` where one stands twice."""
    found = _json.members(raw)
    try:
        _json.check_once(raw, found)
    except _json.JsonError as error:
        record = "a field stands twice in the body"  # its name may be anything
        raise InvalidRequest(str(error), retry=False, record=record) from None
    return found
