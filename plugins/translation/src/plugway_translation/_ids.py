"""Converts tool call ids in both directions. Deterministic, so that prefix caches stay valid.

The Messages API accepts `^[a-zA-Z0-9_-]+$` in `tool_use.id` and answers 400 to anything else.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "pw_"
"""Prefix of an id that encodes one the Messages API would reject."""

_SAFE: Final = re.compile(r"[a-zA-Z0-9_-]+")
_PLAIN: Final = re.compile(rb"[^a-zA-Z0-9-]")
_ESCAPE: Final = re.compile(r"_([0-9a-f]{2})")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def encode_id(call_id: str, *, limit: int = 0) -> str:
    """Encode `call_id` of any API as a Messages API id; unchanged if possible.

    Injective. `limit` is the maximum length (0: unlimited); an id that is too long becomes a hash,
    which `decode_id` cannot undo.
    """
    if _SAFE.fullmatch(call_id) and not call_id.startswith(PREFIX):
        coded = call_id
    else:
        raw = call_id.encode("utf-8", "surrogatepass")
        coded = PREFIX + _PLAIN.sub(lambda m: b"_%02x" % m[0][0], raw).decode()
    return coded if not limit or len(coded) <= limit else _hashed(call_id, limit)


def safe_id(call_id: str) -> str:
    """`call_id` if the Messages API accepts it, encoded or not; otherwise its encoding."""
    return call_id if _SAFE.fullmatch(call_id) else encode_id(call_id)


def decode_id(tool_use_id: str) -> str:
    """Undo `encode_id`; other ids are returned unchanged."""
    if not tool_use_id.startswith(PREFIX):
        return tool_use_id
    raw = bytearray()
    at = len(PREFIX)
    for match in _ESCAPE.finditer(tool_use_id, at):
        raw += tool_use_id[at : match.start()].encode("utf-8", "surrogatepass")
        raw.append(int(match[1], 16))
        at = match.end()
    raw += tool_use_id[at:].encode("utf-8", "surrogatepass")
    try:
        found = raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return tool_use_id
    return found if encode_id(found) == tool_use_id else tool_use_id


@dataclass(frozen=True, slots=True)
class IdCodec:
    """Converts ids between the Messages API and one target."""

    limit: int = 64
    """Maximum length that the target accepts."""
    exact: bool = False
    """The target requires exactly `limit` letters and digits (Mistral: 9)."""

    def out(self, tool_use_id: str) -> str:
        """The target's id for a Messages API id; the original if the target created it."""
        found = decode_id(tool_use_id)
        if self.exact:
            fits = len(found) == self.limit and found.isascii() and found.isalnum()
        else:
            # A decoded id came from a target of this kind, so its characters are valid there.
            fits = 0 < len(found) <= self.limit
        return found if fits else _hashed(tool_use_id, self.limit)

    def back(self, call_id: str) -> str:
        """The Messages API id for a target's id."""
        return encode_id(call_id)


def _hashed(text: str, limit: int) -> str:
    """A hash of `text` with up to 24 letters and digits, or as many as `limit` allows."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    number, found = int.from_bytes(digest), ""
    while len(found) < min(limit, 24):
        number, digit = divmod(number, 62)
        found += _DIGITS[digit]
    return found
