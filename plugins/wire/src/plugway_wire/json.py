"""JSON bytes: strict parsing with positions in errors, and edits that keep all other bytes."""

from __future__ import annotations

import re
from codecs import iterdecode
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import orjson

WRITABLE_DEPTH: Final = 254
"""Most nested containers that orjson writes; it reads 1024."""
MAX_DEPTH: Final = WRITABLE_DEPTH - 14
"""Most nested containers in a body, parts of which are later written into others."""

TOO_DEEP: Final = b'{"error":{"message":"the error is nested too deeply to be shown"}}'
"""The body of an error that cannot be written."""

_SLICE: Final = 2**18
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY = re.compile(rb"\s*+(" + _STRING + rb")\s*+:\s*+", re.DOTALL)
_SEPARATOR = re.compile(rb"\s*+([,}])")


def as_object(value: Any) -> dict[str, Any]:
    """`value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def as_list(value: Any) -> list[Any]:
    """`value` if it is a JSON array, else an empty one."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def loaded(raw: bytes) -> dict[str, Any]:
    """`raw` parsed if it is a JSON object, else an empty one."""
    try:
        return as_object(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return {}


class JsonError(ValueError):
    """The bytes are not one JSON document; the message has the position."""


def parse(raw: bytes) -> Any:
    """Parse one JSON value.

    Raises:
        JsonError: not UTF-8, not JSON, more than one document, or nested too deeply.
    """
    if not raw or raw.isspace():
        raise JsonError("the body is empty; expected a JSON object")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise JsonError(_place(raw, error)) from None
    if opens_more(raw, MAX_DEPTH) and not fits(value, MAX_DEPTH):
        raise JsonError(f"the body is nested more than {MAX_DEPTH} levels deep")
    return value


def parse_member(raw: bytes) -> Any:
    """Parse the value of a top-level member. Raises `ValueError` where `parse` of its object would
    raise."""
    value = orjson.loads(raw)
    if opens_more(raw, MAX_DEPTH - 1) and not fits(value, MAX_DEPTH - 1):
        raise JsonError(f"the body is nested more than {MAX_DEPTH} levels deep")
    return value


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(raw: bytes) -> dict[str, msgspec.Raw] | None:
    """The top-level members of a JSON object as raw bytes, at a third of the cost of parsing.

    The members are checked to be JSON. None on any error, which `parse` then reports.
    """
    try:
        found = _MEMBERS.decode(raw)
        if not raw.isascii():  # msgspec does not check the UTF-8 of skipped values
            deque(iterdecode(_slices(raw), "utf-8"), 0) if len(raw) > _SLICE else raw.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


def check_once(raw: bytes, found: Mapping[str, msgspec.Raw] | None) -> None:
    """Raise `JsonError` for a duplicate top-level name in a valid JSON object: two parsers could
    use different values (RFC 8259, 4). `found` are its `members`.

    Without spaces, as most clients write JSON, comparing lengths is enough.
    """
    if found is None:
        return
    least = 1 + sum(map(len, found)) + sum(map(len, map(memoryview, found.values())))
    if len(raw) != least + 4 * len(found):  # two quotes, a colon, and a comma or the last brace
        member_spans(raw)


def _slices(raw: bytes) -> Iterator[bytes]:
    return (raw[at : at + _SLICE] for at in range(0, len(raw), _SLICE))


def _place(raw: bytes, error: orjson.JSONDecodeError) -> str:
    if raw[:3] == b"\xef\xbb\xbf" or raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return "the body starts with a byte order mark; send plain UTF-8 JSON"
    reason = error.msg.split(": line")[0]
    return f"the body is not valid JSON at line {error.lineno}, column {error.colno}: {reason}"


def opens_more(raw: bytes, most: int) -> bool:
    """Whether more than `most` containers may begin in `raw`. In a large body they are searched one
    by one, because counting all brackets in long strings takes as long as parsing."""
    if len(raw) <= _SLICE:
        return raw.count(b"[") + raw.count(b"{") > most
    found = 0
    for mark in (b"[", b"{"):
        at = raw.find(mark)
        while at >= 0 and found <= most:
            found, at = found + 1, raw.find(mark, at + 1)
    return found > most


def written(value: Any, otherwise: bytes = b"{}") -> bytes:
    """The JSON of somebody else's value; `otherwise` if it is nested too deeply to be written."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return otherwise


def fits(value: Any, depth: int) -> bool:
    """Whether a JSON value has at most `depth` nested containers."""
    for _ in range(WRITABLE_DEPTH - depth):
        value = [value]
    return bool(written(value, b""))  # 12 µs for 115 KB; a walk in Python takes ten times as long


def member_spans(raw: bytes) -> dict[str, tuple[int, int]]:
    """The start and end of the value of each top-level member in a valid JSON object.

    Raises `JsonError` for a duplicate name, because two parsers could use different values.
    """
    values = members(raw) or {}
    spans: dict[str, tuple[int, int]] = {}
    at = raw.index(b"{") + 1
    while match := _KEY.match(raw, at):
        name = orjson.loads(match[1])
        value = memoryview(values.get(name, b""))  # avoids copying large values
        start = match.end()
        end = start + len(value)
        separator = _SEPARATOR.match(raw, end) if raw.startswith(value, start) else None
        if name in spans or not value or separator is None:
            raise JsonError(f"the body has the field {name!r} twice")
        spans[name] = (start, end)
        if separator[1] == b"}":
            break
        at = separator.end()
    return spans


def edit(raw: bytes, changes: Mapping[str, Any], removed: frozenset[str]) -> bytes:
    """`raw` with some top-level members replaced, added or removed; every other byte is kept."""
    view = memoryview(raw)
    known = {name: view[slice(*span)] for name, span in member_spans(raw).items()}
    return joined(known, changes, removed)


def joined(
    known: Mapping[str, memoryview | msgspec.Raw],
    changes: Mapping[str, Any],
    removed: frozenset[str],
) -> bytes:
    """The object of the `known` members, some replaced, added or removed."""
    pieces: list[bytes | memoryview | msgspec.Raw] = []
    for name in (*known, *(name for name in changes if name not in known)):
        if name in removed:
            continue
        value = orjson.dumps(changes[name]) if name in changes else known[name]
        pieces += (b"," if pieces else b"{", orjson.dumps(name), b":", value)
    return b"".join((*pieces, b"}" if pieces else b"{}"))


def replace_leading_model(raw: bytes, model: str, new: str) -> bytes | None:
    """`raw` with another model if the model is the first member, as clients write it.

    None if it is not the first, or if its value occurs again, so the field might be a duplicate;
    use `edit` then.
    """
    value = orjson.dumps(model)
    head = b'{"model":' + value
    if not raw.startswith((head + b",", head + b"}")) or raw.find(value, len(head)) >= 0:
        return None
    return b'{"model":' + orjson.dumps(new) + raw[len(head) :]
