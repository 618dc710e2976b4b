"""JSON bytes: strict parsing with a place in the message, and edits that leave the rest as it was.

Nothing here knows the Messages API.
"""

from __future__ import annotations

import re
from codecs import iterdecode
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import orjson

MAX_DEPTH: Final = 254
"""Containers inside containers that a body may have: what orjson writes. It reads 1024."""

_SLICE: Final = 2**18
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY = re.compile(rb"\s*+(" + _STRING + rb")\s*+:\s*+", re.DOTALL)
_SEPARATOR = re.compile(rb"\s*+([,}])")


def as_object(value: Any) -> dict[str, Any]:
    """`value` where it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def as_list(value: Any) -> list[Any]:
    """`value` where it is a JSON array, otherwise an empty one."""
    return value if isinstance(value, list) else []  # pyright: ignore[reportUnknownVariableType]


def loaded(raw: bytes) -> dict[str, Any]:
    """The JSON object that `raw` is, otherwise an empty one."""
    try:
        return as_object(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return {}


class JsonError(ValueError):
    """The bytes are not one JSON document; the message says where."""


def parse(raw: bytes) -> Any:
    """One JSON value.

    Raises:
        JsonError: not UTF-8, not JSON, more than one document, or nested too deeply.
    """
    if not raw or raw.isspace():
        raise JsonError("the body is empty; expected a JSON object")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise JsonError(_place(raw, error)) from None
    if _may_be_deep(raw) and not _writable(value):
        raise JsonError(f"the body is nested more than {MAX_DEPTH} levels deep")
    return value


_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def members(raw: bytes) -> dict[str, msgspec.Raw] | None:
    """The top-level members of a JSON object, each still in its bytes.

    They are all checked to be JSON, and nothing is made of them: for a third of what parsing costs.
    None where something is wrong, which `parse` then says in words.
    """
    try:
        found = _MEMBERS.decode(raw)
        if not raw.isascii():  # what is skipped was not looked at for this
            deque(iterdecode(_slices(raw), "utf-8"), 0) if len(raw) > _SLICE else raw.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found


def _slices(raw: bytes) -> Iterator[bytes]:
    return (raw[at : at + _SLICE] for at in range(0, len(raw), _SLICE))


def _place(raw: bytes, error: orjson.JSONDecodeError) -> str:
    if raw[:3] == b"\xef\xbb\xbf" or raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return "the body starts with a byte order mark; send plain UTF-8 JSON"
    reason = error.msg.split(": line")[0]
    return f"the body is not valid JSON at line {error.lineno}, column {error.colno}: {reason}"


def _may_be_deep(raw: bytes) -> bool:
    """Whether more containers than `MAX_DEPTH` may begin in `raw`: looked for one by one, because
    counting all that stand in a large text takes as long as parsing it."""
    left = MAX_DEPTH
    for mark in (b"[", b"{"):
        at = raw.find(mark)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = raw.find(mark, at + 1)
    return False


def _writable(value: Any) -> bool:
    try:
        orjson.dumps(value)  # 12 µs for 115 KB, where a walk in Python takes ten times that
    except TypeError:
        return False
    return True


def member_spans(raw: bytes) -> dict[str, tuple[int, int]]:
    """Where the value of each top-level member of a valid JSON object starts and ends.

    A name that stands twice is an error, because two readers could take two different values.
    """
    values = members(raw) or {}
    spans: dict[str, tuple[int, int]] = {}
    at = raw.index(b"{") + 1
    while match := _KEY.match(raw, at):
        name = orjson.loads(match[1])
        value = memoryview(values.get(name, b""))  # as large as all of it: no copy
        start = match.end()
        end = start + len(value)
        if name in spans or not value or not raw.startswith(value, start):
            raise JsonError(f"the body has the field {name!r} twice")
        spans[name] = (start, end)
        separator = _SEPARATOR.match(raw, end)
        if separator is None or separator[1] == b"}":
            break
        at = separator.end()
    return spans


def edit(raw: bytes, changes: Mapping[str, Any], removed: frozenset[str]) -> bytes:
    """`raw` with some top-level members replaced, added or removed; every other byte is kept."""
    spans = member_spans(raw)
    pieces: list[bytes | memoryview] = []
    view = memoryview(raw)
    for name in (*spans, *(name for name in changes if name not in spans)):
        if name in removed:
            continue
        value = orjson.dumps(changes[name]) if name in changes else view[slice(*spans[name])]
        pieces += (b"," if pieces else b"{", orjson.dumps(name), b":", value)
    return b"".join((*pieces, b"}" if pieces else b"{}"))


def replace_leading_model(raw: bytes, model: str, new: str) -> bytes | None:
    """`raw` with its model replaced where the model is the first member, as clients write it.

    None where it stands elsewhere, or where its value occurs again so that the field might stand
    twice; `edit` then does it.
    """
    value = orjson.dumps(model)
    head = b'{"model":' + value
    if not raw.startswith((head + b",", head + b"}")) or raw.find(value, len(head)) >= 0:
        return None
    return b'{"model":' + orjson.dumps(new) + raw[len(head) :]
